// The table of events with its filters.
import type { Event } from '../../api/types'
import { Empty, Failed, Loading } from '../../kit/states'
import { type Column, Table } from '../../kit/table'
import { At } from '../../kit/time'
import { useNames } from '../../live/names'
import { isPast } from '../../live/moment'
import { go, note, place } from '../../shell/router'
import { subject } from '../overview/ticker'
import { FIELDS, type Field, KINDS, filterOf } from './filter'
import { useEvents } from './read'
import { brief } from './words'

function columns(names: ReadonlyMap<string, string>): readonly Column<Event>[] {
  return [
    { key: 'seq', title: 'Event', width: 'minmax(4.5rem, 6rem)', align: 'end', cell: (event) => <span class="number">{event.seq}</span> },
    { key: 'at', title: 'Time', width: '6rem', cell: (event) => <At at={event.at} short /> },
    { key: 'kind', title: 'Kind', width: 'minmax(10rem, 17rem)', cell: (event) => <span class="two-lines"><span class={`kind kind-${event.kind.split('.')[0]}`}>{event.kind}</span><small class="narrow-only">{subject(event, names)}</small></span> },
    { key: 'subject', title: 'About', width: 'minmax(8rem, 1fr)', wideOnly: true, cell: (event) => subject(event, names) },
    { key: 'data', title: 'What', width: 'minmax(8rem, 2fr)', wideOnly: true, cell: (event) => <span class="quiet">{brief(event)}</span> },
    { key: 'actor', title: 'By', width: '8rem', wideOnly: true, cell: (event) => event.actor.name ?? event.actor.type },
  ]
}

type TextProps = { name: Field; label: string; value: string; list?: string; hint?: string }

/** Asked when it is whole: half a word is no kind. */
const Text = ({ name, label, value, list, hint }: TextProps) => (
  <input aria-label={label} placeholder={hint ?? label} list={list} value={value} onChange={(event) => note({ [name]: event.currentTarget.value.trim() })} />
)

export function EventList() {
  const { query } = place.value
  const filter = filterOf(query)
  const read = useEvents(filter)
  const tenants = new Set([...(filter.tenant_id ? [filter.tenant_id] : []), ...read.events.flatMap(({ tenant_id: id }) => (id === null ? [] : [id]))])
  const names = useNames([...tenants])
  const actors = new Map(read.events.flatMap(({ actor }) => (actor.id === null ? [] : [[actor.id, actor.name ?? actor.id] as const])))
  if (filter.actor && !actors.has(filter.actor)) actors.set(filter.actor, filter.actor)
  const isFiltered = Object.keys(filter).length > 0
  return (
    <div class="page fills">
      <div class="page-head">
        <h1>Events</h1>
        <p class="quiet" role="status">{read.events.length}{read.hasMore && ' and more'}</p>
        <div class="tools filters">
          <Text name="kind" label="Kind" value={filter.kind ?? ''} list="kinds" />
          <datalist id="kinds">{KINDS.map((kind) => <option key={kind} value={kind} />)}</datalist>
          <select aria-label="Tenant" value={filter.tenant_id ?? ''} onChange={(event) => note({ tenant_id: event.currentTarget.value })}>
            <option value="">All tenants</option>
            {[...tenants].map((id) => <option key={id} value={id}>{names.get(id) ?? id}</option>)}
          </select>
          <Text name="instance" label="Instance" value={filter.instance ?? ''} hint="service:id" />
          <select aria-label="By" value={filter.actor ?? ''} onChange={(event) => note({ actor: event.currentTarget.value })}>
            <option value="">By anybody</option>
            {[...actors].map(([id, name]) => <option key={id} value={id}>{name}</option>)}
          </select>
          <Text name="since" label="Since" value={filter.since ?? ''} hint="Since, as 1h" />
          <Text name="until" label="Until" value={filter.until ?? ''} hint="Until" />
          {isFiltered && <button type="button" onClick={() => note(Object.fromEntries(FIELDS.map((name) => [name, null])))}>Show all</button>}
          {!isPast.value && (
            <button type="button" aria-pressed={read.isPaused} onClick={() => read.pause(!read.isPaused)}>
              {read.isPaused ? `Follow again${read.waiting > 0 ? ` (${read.waiting} new)` : ''}` : 'Pause'}
            </button>
          )}
        </div>
      </div>
      {read.error !== undefined && <Failed error={read.error} />}
      {read.error === undefined && read.events.length === 0 && (read.isLoading ? <Loading what="events" /> : <Empty title="No event matches" />)}
      {read.events.length > 0 && (
        <Table
          label="Events"
          rows={read.events}
          columns={columns(names)}
          keyOf={(event) => String(event.seq)}
          onOpen={(event) => go(`/events/${event.seq}`)}
          onEnd={read.older}
        />
      )}
    </div>
  )
}
