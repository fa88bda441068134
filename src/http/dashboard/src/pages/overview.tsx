// What an operator sees all day: how the fleet is, what needs somebody, what happens.
import { useInstances, useTenants } from '../live/fleet'
import { useTicker } from '../live/ticker'
import { Failed } from '../kit/states'
import { Attention } from './overview/attention'
import { Counts } from './overview/counts'
import { Deployments } from './overview/deployments'
import { EventTicker } from './overview/ticker'
import { Warnings } from './overview/warnings'

/** Events that the page holds; the ticker shows the newest of them. */
const HELD = 100

export function Overview() {
  const tenants = useTenants()
  const instances = useInstances()
  const ticker = useTicker(HELD)
  const failure = tenants.error ?? instances.error
  if (failure !== undefined) return <div class="page"><h1>Overview</h1><Failed error={failure} /></div>
  return (
    <div class="page">
      <h1 class="only-read">Overview</h1>
      <Counts tenants={tenants.data} instances={instances.data} perSecond={ticker.perSecond} />
      <div class="panels">
        <div class="stack">
          <Attention tenants={tenants.data} instances={instances.data} />
          <Warnings newest={ticker.events[0]?.seq ?? 0} />
        </div>
        <div class="stack">
          <Deployments tenants={tenants.data} />
          <EventTicker ticker={ticker} tenants={tenants.data} />
        </div>
      </div>
    </div>
  )
}
