// What an instance prints, as it comes, and what it printed once, by words.
import { useSignal } from '@preact/signals'
import { write } from '../../api/client'
import { messageOf } from '../../api/problem'
import type { FoundLines, Level, OutputSearch } from '../../api/types'
import { Empty, Failed, Loading } from '../../kit/states'
import { Log } from '../../kit/log'
import { type Followed, useOutput } from './follow'
import { isAtLeast, shown } from './lines'

const MOST_FOUND = 200
const LEVELS: readonly Level[] = ['debug', 'info', 'warn', 'error']

type Found = { answer: FoundLines; marks: string[]; words: string }

export function Output({ service, id }: { service: string; id: string }) {
  const output = useOutput(service, id)
  const level = useSignal<Level | ''>('')
  /** What is shown while it is paused. */
  const held = useSignal<Followed['lines'] | null>(null)
  const words = useSignal('')
  const found = useSignal<Found | null>(null)
  const mistake = useSignal('')
  const search = async (event: Event): Promise<void> => {
    event.preventDefault()
    mistake.value = ''
    const query = words.value.trim()
    if (query === '') {
      found.value = null
      return
    }
    try {
      const body: OutputSearch = { query, instance: `${service}:${id}`, limit: MOST_FOUND, ...(level.value === '' ? {} : { level: level.value }) }
      const { body: answer } = await write<FoundLines>('POST', '/api/logs/search', body)
      const marks = answer.results.flatMap(({ message, highlights }) => {
        // Places are in characters, and not in halves of them.
        const letters = Array.from(message)
        return highlights.map(({ start, end }) => letters.slice(start, end).join(''))
      })
      found.value = { answer, marks: [...new Set(marks)], words: query }
    } catch (error) {
      mistake.value = messageOf(error)
    }
  }
  const end = (): void => {
    words.value = ''
    mistake.value = ''
    found.value = null
  }
  const all = held.value ?? output.lines
  const lines = all.filter((line) => isAtLeast(line, level.value))
  const waiting = held.value === null ? 0 : output.lines.filter(({ number }) => number > (held.value?.at(-1)?.number ?? 0)).length
  return (
    <div class="panel-body output">
      <form class="output-tools" role="search" onSubmit={(event) => void search(event)}>
        <input type="search" aria-label="Search the output" placeholder="Search the output  /" value={words.value} onInput={(event) => (words.value = event.currentTarget.value)} />
        <button type="submit">Search</button>
        <select aria-label="Level" value={level.value} onChange={(event) => (level.value = event.currentTarget.value as Level | '')}>
          <option value="">All levels</option>
          {LEVELS.map((name) => <option key={name} value={name}>{found.value === null ? `${name} and graver` : name}</option>)}
        </select>
        {found.value === null
          ? (
            <button type="button" aria-pressed={held.value !== null} onClick={() => (held.value = held.value === null ? output.lines : null)}>
              {held.value === null ? 'Pause' : `Follow again${waiting > 0 ? ` (${waiting} new)` : ''}`}
            </button>
          )
          : <button type="button" onClick={end}>Back to what comes</button>}
      </form>
      {mistake.value !== '' && <p class="form-mistake" role="alert">{mistake.value}</p>}
      {found.value !== null && <Results found={found.value} />}
      {found.value === null && output.error !== undefined && <Failed error={output.error} />}
      {found.value === null && output.error === undefined && !output.isRead && lines.length === 0 && <Loading what="the output" />}
      {found.value === null && output.isRead && lines.length === 0 && <Empty title={all.length === 0 ? 'It printed nothing yet' : 'No line of this level'} />}
      {found.value === null && lines.length > 0 && <Log label="Output" lines={lines.map((line) => shown(line, line.number))} />}
    </div>
  )
}

function Results({ found: { answer, marks, words } }: { found: Found }) {
  const oldestFirst = answer.results.toReversed()
  return (
    <>
      <p class="quiet" role="status">
        {answer.total} {answer.total === 1 ? 'line holds' : 'lines hold'} “{words}”{answer.total > answer.results.length && `; the newest ${answer.results.length} are shown`}
        {answer.indexing && '; older output is still being indexed'}
      </p>
      {oldestFirst.length > 0 && <Log label="Found lines" lines={oldestFirst.map(shown)} marks={marks} />}
    </>
  )
}
