// An event between its causes and its effects, as a tree: what a person asked for is at the top.
import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { get } from '../../api/client'
import type { Event, ExplainedEvent } from '../../api/types'
import { At } from '../../kit/time'
import { complain } from '../../kit/toast'
import { href } from '../../shell/router'
import { brief } from './words'

const Line = ({ event, isHere = false }: { event: Event; isHere?: boolean }) => (
  <span class={isHere ? 'node here' : 'node'} aria-current={isHere ? 'true' : undefined}>
    {isHere ? <strong>{event.kind}</strong> : <a href={href(`/events/${event.seq}`)}>{event.kind}</a>}
    <span class="quiet">{event.seq}, <At at={event.at} short />, {event.actor.name ?? event.actor.type}</span>
    <span class="quiet node-data">{brief(event)}</span>
  </span>
)

/** An effect; what it led to in turn is read when it is asked for. */
function Effect({ event }: { event: Event }) {
  const effects = useSignal<readonly Event[] | null>(null)
  const open = (): void => {
    if (effects.value !== null) effects.value = null
    else get<ExplainedEvent>(`/api/events/${event.seq}`).then((found) => (effects.value = found.effects), complain)
  }
  const isOpen = effects.value !== null
  return (
    <li>
      <button type="button" class="plain icon" aria-expanded={isOpen} aria-label={`Effects of event ${event.seq}`} onClick={open}>{isOpen ? '▾' : '▸'}</button>
      <Line event={event} />
      {effects.value?.length === 0 && <p class="quiet">It led to nothing more</p>}
      {isOpen && <Effects events={effects.value ?? []} />}
    </li>
  )
}

const Effects = ({ events }: { events: readonly Event[] }) => (
  events.length === 0 ? null : <ul>{events.map((event) => <Effect key={event.seq} event={event} />)}</ul>
)

export function Tree({ event }: { event: ExplainedEvent }) {
  // The nearest cause comes first; the tree begins with the farthest.
  const inner: ComponentChildren = <li><Line event={event} isHere /><Effects events={event.effects} /></li>
  const whole = event.causes.reduce<ComponentChildren>((below, cause) => <li><Line event={cause} /><ul>{below}</ul></li>, inner)
  return <ul class="tree" aria-label="Causes and effects">{whole}</ul>
}
