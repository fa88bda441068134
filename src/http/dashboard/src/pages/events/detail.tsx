// One event: what it is, why it came, what it led to, its data, its proof, and the way back.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { get } from '../../api/client'
import type { Event, ExplainedEvent, Why } from '../../api/types'
import { WriteButton } from '../../kit/button'
import { Failed, Loading } from '../../kit/states'
import { At } from '../../kit/time'
import { useLive } from '../../live/use'
import { href, travel } from '../../shell/router'
import { measureTurn } from '../../time/turned'
import { Proof } from './proof'
import { Tree } from './tree'
import { UndoDialog } from './undo'

/** After these there is nothing left to ask about. */
const ENDS = new Set<Event['kind']>(['tenant.deleted', 'tenant.erased', 'tenant.erasure_requested', 'instance.removed'])

function Sentence({ event }: { event: Event }) {
  const why = useSignal('')
  const { seq, instance, tenant_id: tenant } = event
  const subject = instance !== null ? { instance } : tenant !== null ? { tenant_id: tenant } : null
  const isAsked = subject !== null && !ENDS.has(event.kind)
  useEffect(() => {
    why.value = ''
    if (!isAsked) return
    const stop = new AbortController()
    get<Why>('/api/events/why', { query: { ...subject, as_of: seq }, now: true, signal: stop.signal }).then(
      ({ sentence }) => (why.value = sentence),
      () => undefined,
    )
    return () => stop.abort()
  }, [seq])
  return why.value === '' ? null : <p class="why"><span class="quiet">State after it: </span>{why.value}</p>
}

function Facts({ event }: { event: ExplainedEvent }) {
  return (
    <dl class="facts">
      <div><dt>Time</dt><dd><At at={event.at} /></dd></div>
      <div><dt>By</dt><dd>{event.actor.name ?? event.actor.type}{event.actor.name !== null && <span class="quiet"> ({event.actor.type})</span>}</dd></div>
      {event.tenant_id !== null && <div><dt>Tenant</dt><dd><a href={href('/events', { tenant_id: event.tenant_id })}>{event.tenant_id}</a></dd></div>}
      {event.instance !== null && <div><dt>Instance</dt><dd><a href={href('/events', { instance: event.instance })}>{event.instance}</a></dd></div>}
      <div><dt>Command</dt><dd><code>{event.command_id}</code></dd></div>
      <div><dt>Id</dt><dd><code>{event.id}</code></dd></div>
    </dl>
  )
}

export function EventDetail({ seq }: { seq: number }) {
  const event = useLive<ExplainedEvent>(`/api/events/${seq}`)
  const isUndoing = useSignal(false)
  const found = event.data
  const showThen = (): void => {
    void measureTurn()
    travel(String(seq))
  }
  return (
    <div class="page">
      <div class="page-head">
        <h1>Events</h1>
        <p class="quiet"><a href={href('/events')}>All events</a></p>
        <div class="tools">
          {seq > 1 && <a class="button" href={href(`/events/${seq - 1}`)}>Event before</a>}
          <a class="button" href={href(`/events/${seq + 1}`)}>Next event</a>
          <button type="button" onClick={showThen}>Show this moment</button>
          {found && found.actor.type !== 'system' && <WriteButton act={() => (isUndoing.value = true)}>Undo…</WriteButton>}
        </div>
      </div>
      {event.isLoading && <Loading what="the event" />}
      {event.error !== undefined && <Failed error={event.error} />}
      {found && (
        <div class="panels">
          <div class="stack">
            <section class="panel" aria-labelledby="what"><header><h2 id="what">{seq} <span class="kind">{found.kind}</span></h2></header><div class="panel-body"><Sentence event={found} /><Facts event={found} /></div></section>
            <section class="panel" aria-labelledby="tree"><header><h2 id="tree">Causes and effects</h2></header><div class="panel-body"><Tree event={found} /></div></section>
          </div>
          <div class="stack">
            <section class="panel" aria-labelledby="data"><header><h2 id="data">Data</h2></header><pre class="raw" tabIndex={0} aria-labelledby="data">{JSON.stringify(found.data, null, 2)}</pre></section>
            <section class="panel" aria-labelledby="proof"><header><h2 id="proof">Proof</h2></header><div class="panel-body"><Proof seq={seq} /></div></section>
          </div>
        </div>
      )}
      {isUndoing.value && found && <UndoDialog event={found} onClose={() => (isUndoing.value = false)} />}
    </div>
  )
}
