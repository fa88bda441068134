// Lines of output. They are text and nothing else: escape sequences are taken out, other control characters shown as
// symbols. At the end it follows; whoever scrolls up stays where they are. The number of lines is bounded.
import { useSignal } from '@preact/signals'
import { useLayoutEffect, useRef } from 'preact/hooks'
import { harmless } from './text'
import { At } from './time'

export type LogLine = { key: string; at?: string; level?: string; source?: string; text: string }

/** What a browser lays out without stalling; the rest is reached by search. */
export const MOST_LINES = 2000
const AT_END_PX = 24

type LogProps = { label: string; lines: readonly LogLine[]; /** Words to mark. */ marks?: readonly string[] }

export function Log({ label, lines, marks = [] }: LogProps) {
  const box = useRef<HTMLDivElement>(null)
  const isFollowing = useSignal(true)
  const shown = lines.length > MOST_LINES ? lines.slice(-MOST_LINES) : lines
  useLayoutEffect(() => {
    if (isFollowing.value && box.current) box.current.scrollTop = box.current.scrollHeight
  })
  const look = (element: HTMLElement): void => {
    isFollowing.value = element.scrollTop + element.clientHeight >= element.scrollHeight - AT_END_PX
  }
  return (
    <div class="log-frame">
      <div ref={box} class="log" role="log" aria-label={label} tabIndex={0} onScroll={(event) => look(event.currentTarget)}>
        {shown.length < lines.length && <p class="log-cut">{lines.length - shown.length} earlier lines are not shown</p>}
        {shown.map((line) => (
          <div key={line.key} class={`log-line level-${line.level ?? 'none'}`}>
            {line.at !== undefined && <At at={line.at} short />}
            {line.level !== undefined && <span class="log-level">{line.level}</span>}
            {line.source !== undefined && <span class="log-source">{line.source}</span>}
            <span class="log-text"><Marked text={harmless(line.text)} marks={marks} /></span>
          </div>
        ))}
      </div>
      {!isFollowing.value && (
        <button type="button" class="log-follow" onClick={() => (isFollowing.value = true)}>Paused. Follow again</button>
      )}
    </div>
  )
}

function Marked({ text, marks }: { text: string; marks: readonly string[] }) {
  const wanted = marks.filter((mark) => mark !== '').map((mark) => mark.toLowerCase())
  if (wanted.length === 0) return <>{text}</>
  const lower = text.toLowerCase()
  // Lower case can be longer than what it was made of; then places would be wrong.
  if (lower.length !== text.length) return <>{text}</>
  const pieces = []
  let from = 0
  while (from < text.length) {
    const next = wanted
      .map((mark) => ({ at: lower.indexOf(mark, from), length: mark.length }))
      .filter(({ at }) => at >= 0)
      .sort((a, b) => a.at - b.at || b.length - a.length)[0]
    if (!next) break
    pieces.push(text.slice(from, next.at), <mark key={next.at}>{text.slice(next.at, next.at + next.length)}</mark>)
    from = next.at + next.length
  }
  return <>{pieces}{text.slice(from)}</>
}
