// Running and recent deployments, read from their events.
import type { Event, EventList, TenantLine } from '../../api/types'
import { Badge } from '../../kit/badge'
import { Empty, Failed, Loading } from '../../kit/states'
import { Ago, duration } from '../../kit/time'
import { useLive } from '../../live/use'
import { href } from '../../shell/router'

/** A deployment has some twenty events. */
const LOOKED_AT = 400
const SHOWN = 8
const FINISHED: Event['kind'] = 'deployment.finished'

type Deployment = { id: string; tenant: string | null; status: string; step: string; began: string; ended: string | null }

const text = (value: unknown): string => (typeof value === 'string' ? value : '')

/** Deployments out of their events, which come newest first. */
export function deploymentsOf(events: readonly Event[]): Deployment[] {
  const found = new Map<string, Deployment>()
  for (const event of events.toReversed()) {
    const id = text(event.data['deployment_id'])
    if (id === '') continue
    const known = found.get(id)
    const it = known ?? { id, tenant: event.tenant_id, status: 'running', step: '', began: event.at, ended: null }
    if (event.kind === 'deployment.retried') Object.assign(it, { status: 'running', ended: null })
    if (event.kind === 'deployment.step_started') it.step = text(event.data['step']).replaceAll('_', ' ')
    if (event.kind === FINISHED) Object.assign(it, { status: text(event.data['outcome']), ended: event.at })
    found.set(id, it)
  }
  const all = [...found.values()].sort((a, b) => b.began.localeCompare(a.began))
  return [...all.filter((it) => it.ended === null), ...all.filter((it) => it.ended !== null)]
}

export function Deployments({ tenants }: { tenants: TenantLine[] | undefined }) {
  const events = useLive<EventList>(`/api/events?kind=deployment.&order=desc&limit=${LOOKED_AT}`)
  const names = new Map(tenants?.map((tenant) => [tenant.id, tenant.name]))
  const all = events.data && deploymentsOf(events.data.events)
  const running = all?.filter((it) => it.ended === null).length ?? 0
  return (
    <section class="panel" aria-labelledby="deployments">
      <header><h2 id="deployments">Deployments</h2>{running > 0 && <span class="count-badge busy">{running} running</span>}</header>
      {events.isLoading && <Loading what="deployments" />}
      {events.error !== undefined && <Failed error={events.error} />}
      {all?.length === 0 && <Empty title="Nothing was deployed yet" />}
      <ul class="lines">
        {all?.slice(0, SHOWN).map((it) => (
          <li key={it.id}>
            <div class="line-head">{it.tenant !== null && names.has(it.tenant)
                ? <a href={href(`/tenants/${it.tenant}`, { tab: 'deployments', deployment: it.id })}>{names.get(it.tenant)}</a>
                : <strong>a deleted tenant</strong>}<Badge state={it.status} /></div>
            <p class="quiet">
              {it.ended === null ? `${it.step}, ` : `took ${duration(Date.parse(it.ended) - Date.parse(it.began))}, `}
              <Ago at={it.ended ?? it.began} />
            </p>
          </li>
        ))}
      </ul>
    </section>
  )
}
