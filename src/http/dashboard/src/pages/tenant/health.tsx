// How the parts of a tenant are, and how that changed.
import { write } from '../../api/client'
import type { Event, EventList, HealthReport, Tenant } from '../../api/types'
import { Badge } from '../../kit/badge'
import { WriteButton } from '../../kit/button'
import { Empty, Failed, Loading } from '../../kit/states'
import { Ago } from '../../kit/time'
import { useLive } from '../../live/use'
import { href } from '../../shell/router'

const SHOWN = 12

const text = (value: unknown): string => (typeof value === 'string' ? value : '')

function Part({ name, state, more }: { name: string; state: string; more: string }) {
  return <li><span class="part-name">{name}</span><span class="quiet number">{more}</span><Badge state={state} /></li>
}

const probe = ({ status_code: code, response_time_ms: ms }: { status_code: number | null; response_time_ms: number | null }): string =>
  [code === null ? '' : `HTTP ${code}`, ms === null ? '' : `${ms} ms`].filter(Boolean).join(', ')

function Checks({ report }: { report: HealthReport }) {
  const { frontend, backend, database, services } = report.checks
  const size = [
    database.size_mb === null ? '' : `${database.size_mb} MB`,
    database.connections === null ? '' : `${database.connections} ${database.connections === 1 ? 'process' : 'processes'}`,
  ]
  return (
    <ul class="parts">
      <Part name="Frontend" state={frontend.status} more={probe(frontend)} />
      <Part name="Backend" state={backend.status} more={probe(backend)} />
      <Part name="Database" state={database.status} more={size.filter(Boolean).join(', ')} />
      <Part name="Frontend service" state={services.frontend_service} more="" />
      <Part name="Backend service" state={services.backend_service} more="" />
    </ul>
  )
}

/** What of an event is not well; everything is when nothing is named. */
export function unwellParts({ data }: Event): string {
  const parts = ['frontend', 'backend', 'database'] as const
  const bad = parts.filter((part) => !['up', 'healthy', ''].includes(text(data[part])))
  return bad.map((part) => `${part} ${text(data[part])}`).join(', ')
}

export function Health({ tenant }: { tenant: Tenant }) {
  const report = useLive<HealthReport>(`/api/tenants/${tenant.id}/health`)
  const changes = useLive<EventList>(`/api/events?tenant_id=${tenant.id}&kind=health.changed&order=desc&limit=${SHOWN}`)
  const last = report.data?.last_check
  return (
    <section class="panel" aria-labelledby="health">
      <header>
        <h2 id="health">Health</h2>
        {last !== null && last !== undefined && <span class="quiet">checked <Ago at={last} /></span>}
        <div class="panel-end"><WriteButton needs="viewer" act={() => write('POST', `/api/tenants/${tenant.id}/health-check`)}>Check now</WriteButton></div>
      </header>
      {report.error !== undefined && <Failed error={report.error} />}
      {report.isLoading && <Loading what="the checks" />}
      {report.data && <Checks report={report.data} />}
      <h3 class="sub">Changes</h3>
      {changes.error !== undefined && <Failed error={changes.error} />}
      {changes.data?.events.length === 0 && <Empty title="No change was seen yet" />}
      <ol class="changes">
        {changes.data?.events.map((event) => (
          <li key={event.seq}>
            <Badge state={text(event.data['overall'])} />
            <span class="quiet any-text">{unwellParts(event)}</span>
            <a href={href(`/events/${event.seq}`)} title={`Event ${event.seq}`}><Ago at={event.at} /></a>
          </li>
        ))}
      </ol>
    </section>
  )
}
