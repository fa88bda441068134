// What a tenant's frontend and backend print, as they print it.
import { Empty, Failed } from '../../kit/states'
import { Log } from '../../kit/log'
import { useLines } from '../../live/lines'
import { isPast } from '../../live/moment'
import { note, place } from '../../shell/router'
import { levelOf } from './lines'

const SERVICES = ['backend', 'frontend'] as const
const LEVELS = ['debug', 'info', 'warn', 'error', 'critical'] as const
/** Lines of before. */
const EARLIER = 500

export function Logs({ id }: { id: string }) {
  const { query } = place.value
  const service = SERVICES.find((name) => name === query.get('service')) ?? 'backend'
  const search = query.get('search') ?? ''
  const least = Math.max(0, LEVELS.findIndex((level) => level === query.get('level')))
  const { lines, error, isOpen } = useLines(isPast.value ? null : `/api/tenants/${id}/logs?service=${service}&follow=true&lines=${EARLIER}`)
  const words = search.toLowerCase().split(/\s+/).filter(Boolean)
  const shown = lines
    .map(({ number, text }) => ({ key: String(number), text, level: levelOf(text) }))
    .filter(({ text, level }) => LEVELS.indexOf(level as 'info') >= least && words.every((word) => text.toLowerCase().includes(word)))
  return (
    <div class="logs">
      <div class="tools">
        <div class="choice" role="group" aria-label="Service">
          {SERVICES.map((name) => (
            <button key={name} type="button" aria-pressed={name === service} onClick={() => note({ service: name })}>{name}</button>
          ))}
        </div>
        <select aria-label="Level" value={LEVELS[least]} onChange={(event) => note({ level: event.currentTarget.value === 'debug' ? null : event.currentTarget.value })}>
          {LEVELS.map((level) => <option key={level} value={level}>{level === 'debug' ? 'All levels' : `${level} and above`}</option>)}
        </select>
        <input type="search" aria-label="Search lines" placeholder="Search  /" value={search} onInput={(event) => note({ search: event.currentTarget.value })} />
        <p class="quiet" role="status">{shown.length === lines.length ? `${lines.length} lines` : `${shown.length} of ${lines.length} lines`}</p>
      </div>
      {isPast.value && <Empty title="What was printed is not kept for the past" />}
      {error !== undefined && <Failed error={error} />}
      {!isPast.value && error === undefined && (
        lines.length === 0
          ? <Empty title={isOpen ? 'Nothing was printed yet' : 'Opening the output'} />
          : <Log label={`Output of the ${service}`} lines={shown} marks={words} />
      )}
    </div>
  )
}
