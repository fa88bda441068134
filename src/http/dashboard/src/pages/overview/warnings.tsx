// Warnings and errors of the control plane's own log: failed certificates, full disks, refused logins.
import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { get } from '../../api/client'
import type { ControlLine, ControlLog } from '../../api/types'
import { Badge } from '../../kit/badge'
import { Empty, Failed, Loading } from '../../kit/states'
import { Ago } from '../../kit/time'
import { isPast } from '../../live/moment'

const LEVELS = ['critical', 'error', 'warning'] as const
const SHOWN = 8
/** The log grows with events; a burst of them is one reading. */
const REREAD_MS = 5000

async function read(signal: AbortSignal): Promise<ControlLine[]> {
  const query = { source: 'control', limit: SHOWN }
  const lists = await Promise.all(LEVELS.map((level) => get<ControlLog>('/api/logs', { query: { ...query, level }, now: true, signal })))
  const lines = lists.flatMap((list) => list.logs)
  return lines.sort((a, b) => b.created_at.localeCompare(a.created_at)).slice(0, SHOWN)
}

export function Warnings({ newest }: { newest: number }) {
  const lines = useSignal<ControlLine[] | undefined>(undefined)
  const error = useSignal<unknown>(undefined)
  const last = useRef(0)
  const hasPast = isPast.value
  const stop = useRef(new AbortController())
  useEffect(() => () => stop.current.abort(), [])
  useEffect(() => {
    // The log has no past of its own.
    if (hasPast) return
    const { signal } = stop.current
    const wait = Math.max(0, last.current + REREAD_MS - Date.now())
    const timer = setTimeout(() => {
      last.current = Date.now()
      read(signal).then(
        (found) => (lines.value = found),
        (refusal: unknown) => signal.aborted || (error.value = refusal),
      )
    }, wait)
    return () => clearTimeout(timer)
  }, [newest, hasPast])
  if (hasPast) return null
  return (
    <section class="panel" aria-labelledby="warnings">
      <header><h2 id="warnings">Warnings</h2></header>
      {lines.value === undefined && error.value === undefined && <Loading what="the log" />}
      {error.value !== undefined && <Failed error={error.value} />}
      {lines.value?.length === 0 && <Empty title="No warnings" />}
      <ul class="lines">
        {lines.value?.map((line) => (
          <li key={line.id}>
            <div class="line-head"><span>{line.message}</span><Badge state={line.level} /></div>
            <p class="quiet">{line.category.replaceAll('_', ' ')}, <Ago at={line.created_at} /></p>
          </li>
        ))}
      </ul>
    </section>
  )
}
