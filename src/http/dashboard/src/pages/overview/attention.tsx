// What is not well, and the chain of causes behind it in a sentence.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { get } from '../../api/client'
import type { InstanceLine, TenantLine, Why } from '../../api/types'
import { Badge } from '../../kit/badge'
import { Empty, Loading } from '../../kit/states'
import { asOf } from '../../live/moment'
import { isUnwell } from '../tenants/filter'
import { href } from '../../shell/router'

/** Each asks one question of the server. */
const MOST = 8
const TENANTS_OWN = new Set(['frontend', 'backend'])

type Unwell = { key: string; name: string; state: string; ask: Record<string, string> }

/** What is wrong with an instance, in a word; nothing when it is well. */
function stateOf({ status, health, restart_count: restarts }: InstanceLine): string {
  if (status === 'failed') return status
  // One that crashes again and again waits or starts for most of its time. One that never did is only restarted by somebody.
  if ((status === 'restarting' || status === 'starting') && restarts > 0) return 'restarting'
  return health === 'unhealthy' ? health : ''
}

export function unwell(tenants: readonly TenantLine[], instances: readonly InstanceLine[]): Unwell[] {
  const those = tenants.filter(isUnwell).map((tenant) => ({
    key: tenant.id,
    name: tenant.name,
    state: tenant.status === 'error' ? 'error' : tenant.health_status,
    ask: { tenant_id: tenant.id },
  }))
  const others = instances
    // A tenant's own processes are told by the tenant.
    .filter((it) => !TENANTS_OWN.has(it.service) && stateOf(it) !== '')
    .map((it) => ({ key: it.instance, name: it.instance, state: stateOf(it), ask: { instance: it.instance } }))
  return [...those, ...others]
}

function Cause({ ask, state }: { ask: Record<string, string>; state: string }) {
  const why = useSignal('')
  const [[name, value] = ['', '']] = Object.entries(ask)
  const moment = asOf.value
  useEffect(() => {
    const stop = new AbortController()
    get<Why>('/api/events/why', { query: { [name]: value }, signal: stop.signal }).then(
      ({ sentence }) => (why.value = sentence),
      () => undefined,
    )
    return () => stop.abort()
  }, [name, value, state, moment])
  return <p class="cause">{why.value}</p>
}

export function Attention({ tenants, instances }: { tenants: TenantLine[] | undefined; instances: InstanceLine[] | undefined }) {
  const all = tenants && instances && unwell(tenants, instances)
  return (
    <section class="panel" aria-labelledby="attention">
      <header><h2 id="attention">Needs attention</h2>{all && all.length > 0 && <span class="count-badge bad">{all.length}</span>}</header>
      {all === undefined && <Loading what="the fleet" />}
      {all?.length === 0 && <Empty title="Everything is well" />}
      <ul class="lines">
        {all?.slice(0, MOST).map(({ key, name, state, ask }) => (
          <li key={key}>
            <div class="line-head">{ask['tenant_id'] === undefined ? <strong>{name}</strong> : <a href={href(`/tenants/${ask['tenant_id']}`)}>{name}</a>}<Badge state={state} /></div>
            <Cause ask={ask} state={state} />
          </li>
        ))}
      </ul>
      {all && all.length > MOST && <p class="more"><a href={href('/tenants', { state: 'unhealthy' })}>and {all.length - MOST} more</a></p>}
    </section>
  )
}
