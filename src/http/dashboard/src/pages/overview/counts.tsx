// The fleet in numbers, each a way to those it counts.
import type { InstanceLine, TenantLine } from '../../api/types'
import { toneOf } from '../../kit/badge'
import { isPast } from '../../live/moment'
import { href } from '../../shell/router'

export function countBy<Row>(rows: readonly Row[], by: (row: Row) => string): [state: string, count: number][] {
  const counts = new Map<string, number>()
  for (const row of rows) counts.set(by(row), (counts.get(by(row)) ?? 0) + 1)
  return [...counts].sort((a, b) => b[1] - a[1])
}

type FleetProps = { title: string; states: [string, number][] | undefined; link?: (state: string) => string }

function Fleet({ title, states, link }: FleetProps) {
  const total = states?.reduce((sum, [, count]) => sum + count, 0)
  return (
    <section class="count" aria-label={title}>
      <p class="count-title">{title}</p>
      <p class="count-total">{total ?? '…'}</p>
      <div class="shares" aria-hidden="true">
        {states?.map(([state, count]) => <span key={state} class={toneOf(state)} style={{ flexGrow: count }} />)}
      </div>
      <ul class="count-states">
        {states?.map(([state, count]) => (
          <li key={state} class={`dot ${toneOf(state)}`}>
            {link ? <a href={link(state)}>{count} {state}</a> : <>{count} {state}</>}
          </li>
        ))}
      </ul>
    </section>
  )
}

type CountsProps = { tenants: TenantLine[] | undefined; instances: InstanceLine[] | undefined; perSecond: number }

export function Counts({ tenants, instances, perSecond }: CountsProps) {
  const byState = tenants && countBy(tenants, (tenant) => tenant.status)
  const byHealth = tenants && countBy(tenants.filter((tenant) => tenant.status === 'running'), (tenant) => tenant.health_status)
  return (
    <div class="counts">
      <Fleet title="Tenants" states={byState} link={(state) => href('/tenants', { state })} />
      <Fleet title="Health of what runs" states={byHealth} />
      <Fleet title="Instances" states={instances && countBy(instances, (instance) => instance.status)} />
      <section class="count" aria-label="Events per second">
        <p class="count-title">Events per second</p>
        <p class="count-total">{isPast.value ? 'past' : perSecond.toFixed(1)}</p>
        <p class="quiet">over the last ten seconds</p>
      </section>
    </div>
  )
}
