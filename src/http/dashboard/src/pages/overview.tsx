// What an operator sees all day: how the fleet is, what needs somebody, what happens.
import type { Fleet } from '../api/types'
import { useTicker } from '../live/ticker'
import { useLive } from '../live/use'
import { Failed } from '../kit/states'
import { Attention } from './overview/attention'
import { Certificates } from './overview/certificates'
import { Counts } from './overview/counts'
import { Deployments } from './overview/deployments'
import { EventTicker } from './overview/ticker'
import { Warnings } from './overview/warnings'

/** Events that the page holds; the ticker shows the newest of them. */
const HELD = 100

export function Overview() {
  const { data: fleet, error } = useLive<Fleet>('/api/fleet')
  const ticker = useTicker(HELD)
  if (error !== undefined) return <div class="page"><h1>Overview</h1><Failed error={error} /></div>
  return (
    <div class="page">
      <h1 class="only-read">Overview</h1>
      <Counts fleet={fleet} perSecond={ticker.perSecond} />
      <div class="panels">
        <div class="stack">
          <Attention unwell={fleet?.unwell} />
          <Warnings newest={ticker.events[0]?.seq ?? 0} certificates={fleet?.certificates.first ?? []} />
          <Certificates certificates={fleet?.certificates} />
        </div>
        <div class="stack">
          <Deployments deployments={fleet?.deployments} />
          <EventTicker ticker={ticker} />
        </div>
      </div>
    </div>
  )
}
