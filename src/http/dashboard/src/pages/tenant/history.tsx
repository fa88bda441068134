// What became of a tenant: each event with what it changed, the newest first.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { get } from '../../api/client'
import type { Change, EventList, HistoryEntry, TenantHistory } from '../../api/types'
import { WriteButton } from '../../kit/button'
import { Empty, Failed, Loading } from '../../kit/states'
import { At } from '../../kit/time'
import { asOf } from '../../live/moment'
import { useLive } from '../../live/use'
import { href, travel } from '../../shell/router'
import { Undo } from './undo'
import { mayUndo, worded } from './words'

const STEP = 100
/** Changes of one event that are shown without being asked for. */
const AT_ONCE = 8
/** The API's own bound. */
const MOST = 1000

export function History({ id, isGone = false }: { id: string; isGone?: boolean }) {
  const count = useSignal(STEP)
  const entries = useSignal<readonly HistoryEntry[] | undefined>(undefined)
  const error = useSignal<unknown>(undefined)
  const undoing = useSignal<HistoryEntry | null>(null)
  // The newest events say where to begin: the history itself is read from its oldest on.
  const events = useLive<EventList>(`/api/events?tenant_id=${id}&order=desc&limit=${count.value}`)
  const [newest, oldest] = [events.data?.events[0]?.seq, events.data?.events.at(-1)?.seq]
  const moment = asOf.value
  useEffect(() => {
    if (oldest === undefined) return
    const stop = new AbortController()
    get<TenantHistory>(`/api/tenants/${id}/history`, { query: { from_seq: oldest, limit: MOST }, signal: stop.signal }).then(
      ({ history }) => {
        entries.value = history.toReversed()
        error.value = undefined
      },
      (refusal: unknown) => stop.signal.aborted || (error.value = refusal),
    )
    return () => stop.abort()
  }, [id, newest, oldest, moment])
  const failure = events.error ?? error.value
  if (failure !== undefined) return <Failed error={failure} />
  if (events.data?.events.length === 0) return <Empty title="Nothing is known of it" />
  if (entries.value === undefined) return <Loading what="the history" />
  return (
    <div class="history panel">
      <ol aria-label="History">
        {entries.value.map((entry) => <Entry key={entry.seq} entry={entry} isGone={isGone} onUndo={() => (undoing.value = entry)} />)}
      </ol>
      {(events.data?.events.length ?? 0) >= count.value && count.value < MOST && (
        <p class="more"><button type="button" onClick={() => (count.value = Math.min(MOST, count.value * 2))}>Earlier</button></p>
      )}
      {undoing.value !== null && <Undo entry={undoing.value} onClose={() => (undoing.value = null)} />}
    </div>
  )
}

type EntryProps = { entry: HistoryEntry; isGone: boolean; onUndo: () => void }

function Entry({ entry, isGone, onUndo }: EntryProps) {
  const { seq, at, kind, actor, changes } = entry
  return (
    <li class="entry">
      <div class="entry-head">
        <a class="number" href={href(`/events/${seq}`)} aria-label={`Event ${seq}`}>{seq}</a>
        <span class={`kind kind-${kind.split('.')[0]}`}>{kind}</span>
        <span class="quiet any-text">{actor.type === 'system' ? 'the control plane' : (actor.name ?? actor.type)}</span>
        <At at={at} />
        <div class="entry-end">
          <button type="button" class="plain small" aria-label={`Go there, after event ${seq}`} onClick={() => travel(String(seq))}>Go there</button>
          {!isGone && mayUndo(entry) && <WriteButton tone="plain" label={`Undo event ${seq}`} act={onUndo}>Undo</WriteButton>}
        </div>
      </div>
      {changes.length > 0 && <Changes changes={changes.slice(0, AT_ONCE)} />}
      {changes.length > AT_ONCE && (
        <details class="entry-more"><summary>{changes.length - AT_ONCE} more</summary><Changes changes={changes.slice(AT_ONCE)} /></details>
      )}
    </li>
  )
}

function Changes({ changes }: { changes: readonly Change[] }) {
  return <dl class="entry-changes">{changes.map((change) => <ChangeLine key={change.field} change={change} />)}</dl>
}

function ChangeLine({ change }: { change: Change }) {
  return (
    <div>
      <dt>{change.field}</dt>
      <dd>
        {change.from !== null && <del>{worded(change.from)}</del>}
        {change.to !== null && <ins>{worded(change.to)}</ins>}
        {change.to === null && <span class="quiet">removed</span>}
      </dd>
    </div>
  )
}
