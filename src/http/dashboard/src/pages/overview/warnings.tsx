// What stands wrong (certificates, disks), and warnings and errors of the control plane's own log.
import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { get } from '../../api/client'
import type { ControlLine, ControlLog, FleetCertificate, FleetSpace } from '../../api/types'
import { Badge } from '../../kit/badge'
import { Empty, Failed, Loading } from '../../kit/states'
import { Ago, At } from '../../kit/time'
import { useMeasured } from '../../live/measured'
import { isPast } from '../../live/moment'
import { href } from '../../shell/router'
import { ofCertificates, ofSpace } from './standing'

const LEVELS = ['critical', 'error', 'warning'] as const
const SHOWN = 8
/** The log grows with events; a burst of them is one reading. */
const REREAD_MS = 5000
/** As often as directories are looked at. */
const SPACE_S = 60

const readSpace = (signal: AbortSignal): Promise<FleetSpace> => get<FleetSpace>('/api/fleet/space', { now: true, signal })

async function read(signal: AbortSignal): Promise<ControlLine[]> {
  const query = { source: 'control', limit: SHOWN }
  const lists = await Promise.all(LEVELS.map((level) => get<ControlLog>('/api/logs', { query: { ...query, level }, now: true, signal })))
  const lines = lists.flatMap((list) => list.logs)
  return lines.sort((a, b) => b.created_at.localeCompare(a.created_at)).slice(0, SHOWN)
}

export function Warnings({ newest, certificates }: { newest: number; certificates: readonly FleetCertificate[] }) {
  const lines = useSignal<ControlLine[] | undefined>(undefined)
  const error = useSignal<unknown>(undefined)
  const last = useRef(0)
  const hasPast = isPast.value
  const space = useMeasured(hasPast ? null : 'space', readSpace, () => SPACE_S).data
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
  const standing = [...ofCertificates(certificates, Date.now()), ...(space ? ofSpace(space) : [])]
  return (
    <section class="panel" aria-labelledby="warnings">
      <header><h2 id="warnings">Warnings</h2></header>
      {lines.value === undefined && error.value === undefined && <Loading what="the log" />}
      {error.value !== undefined && <Failed error={error.value} />}
      {lines.value?.length === 0 && standing.length === 0 && <Empty title="No warnings" />}
      <ul class="lines">
        {standing.map(({ key, text, state, tenant, at }) => (
          <li key={key}>
            <div class="line-head">{tenant === null ? <span>{text}</span> : <a href={href(`/tenants/${tenant}`)}>{text}</a>}<Badge state={state} /></div>
            {at !== null && <p class="quiet">ends <At at={at} /></p>}
          </li>
        ))}
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
