// The fleet in numbers, each a way to those it counts.
import type { Fleet } from '../../api/types'
import { toneOf } from '../../kit/badge'
import { isPast } from '../../live/moment'
import { href } from '../../shell/router'

/** States with how many there are of each, the most first. */
export const byCount = (counts: Readonly<Record<string, number>>): [state: string, count: number][] => Object.entries(counts).toSorted((a, b) => b[1] - a[1])

type GroupProps = { title: string; states: [string, number][] | undefined; link?: (state: string) => string }

function Group({ title, states, link }: GroupProps) {
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

export function Counts({ fleet, perSecond }: { fleet: Fleet | undefined; perSecond: number }) {
  return (
    <div class="counts">
      <Group title="Tenants" states={fleet && byCount(fleet.tenants.by_status)} link={(state) => href('/tenants', { state })} />
      <Group title="Health of what runs" states={fleet && byCount(fleet.tenants.running_by_health)} />
      <Group title="Instances" states={fleet && byCount(fleet.instances.by_status)} />
      <section class="count" aria-label="Events per second">
        <p class="count-title">Events per second</p>
        <p class="count-total">{isPast.value ? 'past' : perSecond.toFixed(1)}</p>
        <p class="quiet">over the last ten seconds</p>
      </section>
    </div>
  )
}
