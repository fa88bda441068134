// What changed between A and B: of one tenant field by field, of all by their events.
import { useSignal } from '@preact/signals'
import { useEffect, useState } from 'preact/hooks'
import { get } from '../api/client'
import type { Difference, EventList } from '../api/types'
import { Dialog } from '../kit/dialog'
import { Empty, Failed, Loading } from '../kit/states'
import { At } from '../kit/time'
import { parts } from '../shell/router'
import { Changes } from './changes'
import { summarized } from './diff'
import { span } from './points'
import { useTenantsAt } from './then'

/** The API's own bound. */
const MOST_EVENTS = 1000
const KINDS_SHOWN = 4

/** Asks once for each path; the answer of an earlier one is dropped. */
function useOnce<T>(path: string | null): { data: T | undefined; error: unknown } {
  const [answer, setAnswer] = useState<{ path: string | null; data: T | undefined; error: unknown }>({ path: null, data: undefined, error: undefined })
  useEffect(() => {
    if (path === null) return
    const stop = new AbortController()
    get<T>(path, { now: true, signal: stop.signal }).then(
      (data) => setAnswer({ path, data, error: undefined }),
      (error: unknown) => stop.signal.aborted || setAnswer({ path, data: undefined, error }),
    )
    return () => stop.abort()
  }, [path])
  return answer.path === path ? answer : { data: undefined, error: undefined }
}

function OfTenant({ id, from, to }: { id: string; from: number; to: number }) {
  const { data, error } = useOnce<Difference>(`/api/tenants/${id}/diff?from=${from}&to=${to}`)
  if (error !== undefined) return <Failed error={error} />
  if (!data) return <Loading what="the difference" />
  if (data.changes.length === 0) return <Empty title="Nothing of this tenant changed" />
  return <Changes label="Changes" changes={data.changes} />
}

type OfAllProps = { from: number; to: number; names: ReadonlyMap<string, string>; onChoose: (tenant: string) => void }

function OfAll({ from, to, names, onChoose }: OfAllProps) {
  const isSame = from === to
  const { data, error } = useOnce<EventList>(isSame ? null : `/api/events?from_seq=${from + 1}&to_seq=${to}&limit=${MOST_EVENTS}`)
  if (isSame) return <Empty title="A and B are the same moment" />
  if (error !== undefined) return <Failed error={error} />
  if (!data) return <Loading what="the events" />
  return (
    <div class="changes" role="region" aria-label="What changed" tabIndex={0}>
      {data.next_seq !== null && <p class="quiet">The first {data.events.length} of {to - from} events. Bring A and B closer to see the others.</p>}
      <ul class="lines">
        {summarized(data.events, names).map(({ key, tenant, title, count, kinds, first, last }) => (
          <li key={key}>
            <div class="line-head">
              {tenant === null ? <strong>{title}</strong> : <button type="button" class="plain link-like" onClick={() => onChoose(tenant)}>{title}</button>}
              <span class="quiet">{count} {count === 1 ? 'event' : 'events'}, <At at={first} short /> to <At at={last} short /></span>
            </div>
            <p class="quiet">{kinds.slice(0, KINDS_SHOWN).map(([kind, times]) => (times === 1 ? kind : `${kind} × ${times}`)).join(', ')}{kinds.length > KINDS_SHOWN && ', …'}</p>
          </li>
        ))}
      </ul>
    </div>
  )
}

export function Compare({ onClose }: { onClose: () => void }) {
  const here = parts.value[0] === 'tenants' ? (parts.value[1] ?? '') : ''
  const tenant = useSignal(here)
  const range = span()
  const before = useTenantsAt(range?.from ?? null)
  const after = useTenantsAt(range?.to ?? null)
  if (range === null) return null
  const names = new Map([...(before.tenants ?? []), ...(after.tenants ?? [])].map(({ id, name }) => [id, name]))
  return (
    <Dialog title={`From event ${range.from} to event ${range.to}`} onClose={onClose} wide>
      <div class="dialog-body">
        <label class="field">
          <span>Of</span>
          <select value={tenant.value} onChange={(event) => (tenant.value = event.currentTarget.value)}>
            <option value="">everything</option>
            {[...names].map(([id, name]) => <option key={id} value={id}>{name}</option>)}
          </select>
        </label>
        {tenant.value === ''
          ? <OfAll {...range} names={names} onChoose={(id) => (tenant.value = id)} />
          : <OfTenant id={tenant.value} {...range} />}
      </div>
    </Dialog>
  )
}
