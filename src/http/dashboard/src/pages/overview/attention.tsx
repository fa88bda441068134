// What is not well, and the chain of causes behind it in a sentence.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { get } from '../../api/client'
import type { Fleet, Why } from '../../api/types'
import { Badge } from '../../kit/badge'
import { Empty, Loading } from '../../kit/states'
import { asOf } from '../../live/moment'
import { href } from '../../shell/router'

/** Each asks one question of the server. */
const MOST = 8
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

export function Attention({ unwell }: { unwell: Fleet['unwell'] | undefined }) {
  return (
    <section class="panel" aria-labelledby="attention">
      <header><h2 id="attention">Needs attention</h2>{unwell && unwell.total > 0 && <span class="count-badge bad">{unwell.total}</span>}</header>
      {unwell === undefined && <Loading what="the fleet" />}
      {unwell?.total === 0 && <Empty title="Everything is well" />}
      <ul class="lines">
        {unwell?.first.slice(0, MOST).map(({ tenant_id: id, name, instance, state }) => (
          <li key={id ?? instance}>
            <div class="line-head">{id === null ? <strong>{instance}</strong> : <a href={href(`/tenants/${id}`)}>{name}</a>}<Badge state={state} /></div>
            <Cause ask={id === null ? { instance: instance ?? '' } : { tenant_id: id }} state={state} />
          </li>
        ))}
      </ul>
      {unwell && unwell.total > MOST && <p class="more"><a href={href('/tenants', { state: 'unhealthy' })}>and {unwell.total - MOST} more</a></p>}
    </section>
  )
}
