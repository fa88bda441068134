// Events as they happen, the newest on top.
import type { Event } from '../../api/types'
import { Empty, Failed } from '../../kit/states'
import { At } from '../../kit/time'
import { useNames } from '../../live/names'
import type { Ticker } from '../../live/ticker'

const SHOWN = 30

/** What an event is about, in a word. */
export function subject(event: Event, names: ReadonlyMap<string, string>): string {
  return event.instance ?? (event.tenant_id === null ? '' : (names.get(event.tenant_id) ?? event.tenant_id))
}

export function EventTicker({ ticker }: { ticker: Ticker }) {
  const shown = ticker.events.slice(0, SHOWN)
  const names = useNames(shown.map((event) => event.tenant_id))
  return (
    <section class="panel" aria-labelledby="events">
      <header><h2 id="events">Events</h2></header>
      {ticker.error !== undefined && <Failed error={ticker.error} />}
      {ticker.events.length === 0 && ticker.error === undefined && <Empty title="No events yet" />}
      <ol class="ticker" reversed aria-label="Latest events" tabIndex={0}>
        {shown.map((event) => (
          <li key={event.seq}>
            <At at={event.at} short />
            <span class={`kind kind-${event.kind.split('.')[0]}`}>{event.kind}</span>
            <span class="subject">{subject(event, names)}</span>
            <span class="quiet">{event.actor.name ?? event.actor.type}</span>
          </li>
        ))}
      </ol>
    </section>
  )
}
