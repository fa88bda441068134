// Deployments of a tenant, one of them in full, and the releases that came of them.
import type { Deployment, DeploymentList, Tenant } from '../../api/types'
import { Badge } from '../../kit/badge'
import { Empty, Failed, Loading } from '../../kit/states'
import { Ago, duration } from '../../kit/time'
import { useLive } from '../../live/use'
import { note, place } from '../../shell/router'
import { Progress } from './progress'
import { Releases } from './releases'

const SHOWN = 20

const took = (it: Deployment): string =>
  it.finished_at === null ? '' : `, took ${duration(Date.parse(it.finished_at) - Date.parse(it.started_at))}`

export function Deployments({ tenant }: { tenant: Tenant }) {
  const { data, error } = useLive<DeploymentList>(`/api/tenants/${tenant.id}/deployments?limit=${SHOWN}`)
  const list = data?.deployments ?? []
  const shown = place.value.query.get('deployment') ?? list[0]?.id
  if (error !== undefined) return <Failed error={error} />
  if (data === undefined) return <Loading what="deployments" />
  return (
    <div class="panels wide-first">
      <section class="panel" aria-label="The deployment">
        {shown === undefined
          ? <Empty title="Nothing was deployed yet"><p>Deploy copies the application into a release of its own and starts it.</p></Empty>
          : <Progress key={shown} id={shown} />}
      </section>
      <div class="stack">
        <section class="panel" aria-labelledby="deployment-list">
          <header><h2 id="deployment-list">Deployments</h2>{data.total > 0 && <span class="quiet">{data.total}</span>}</header>
          {list.length === 0 && <Empty title="None yet" />}
          <ul class="lines picks">
            {list.map((it) => (
              <li key={it.id}>
                <button type="button" class="pick" aria-current={it.id === shown ? 'true' : undefined} onClick={() => note({ deployment: it.id })}>
                  <span><strong>Release {it.release}</strong><small><Ago at={it.started_at} />{took(it)}{it.rollback && ', rollback'}</small></span>
                  <Badge state={it.status} />
                </button>
              </li>
            ))}
          </ul>
        </section>
        <Releases tenant={tenant} onBegun={(id) => note({ deployment: id })} />
      </div>
    </div>
  )
}
