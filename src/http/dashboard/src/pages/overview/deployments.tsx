// Running and recent deployments.
import type { Fleet, FleetDeployment } from '../../api/types'
import { Badge } from '../../kit/badge'
import { Empty, Loading } from '../../kit/states'
import { Ago, duration } from '../../kit/time'
import { href } from '../../shell/router'

const SHOWN = 8

function Line({ deployment: it }: { deployment: FleetDeployment }) {
  const took = it.finished_at === null ? '' : `took ${duration(Date.parse(it.finished_at) - Date.parse(it.requested_at))}, `
  return (
    <li>
      <div class="line-head">
        {it.name === null ? <strong>a deleted tenant</strong> : <a href={href(`/tenants/${it.tenant_id}`, { tab: 'deployments', deployment: it.id })}>{it.name}</a>}
        <Badge state={it.status} />
      </div>
      <p class="quiet">{it.finished_at === null && it.step !== null ? `${it.step}, ` : took}<Ago at={it.finished_at ?? it.requested_at} /></p>
    </li>
  )
}

export function Deployments({ deployments }: { deployments: Fleet['deployments'] | undefined }) {
  return (
    <section class="panel" aria-labelledby="deployments">
      <header><h2 id="deployments">Deployments</h2>{deployments && deployments.running > 0 && <span class="count-badge busy">{deployments.running} running</span>}</header>
      {deployments === undefined && <Loading what="deployments" />}
      {deployments?.first.length === 0 && <Empty title="Nothing was deployed yet" />}
      <ul class="lines">{deployments?.first.slice(0, SHOWN).map((it) => <Line key={it.id} deployment={it} />)}</ul>
    </section>
  )
}
