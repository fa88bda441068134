// Every tenant, however many there are: read once, page by page, and then only those again that events were about.
import { useEffect, useState } from 'preact/hooks'
import { get } from '../api/client'
import type { FleetTenants, TenantLine } from '../api/types'
import { follow } from './feed'
import { asOf } from './moment'
import type { Live } from './use'

/** The API's own bound for what one request names. */
const NAMED = 100
/** Beyond so many it is less to read all of them. */
const MOST_NAMED = 1000
/** Events come in bursts; the first one is shown after this long, the others together. */
const TOGETHER_MS = 300
/** How long after a failure it is tried again. */
const AGAIN_MS = 5000

type All = { tenants: Map<string, TenantLine>; seq: number }

/** Everything up to `seq` is in it, and of what came later some. */
async function readAll(atLeast: number, signal: AbortSignal): Promise<All> {
  const tenants: All['tenants'] = new Map()
  for (let after: string | undefined, first: number | null = null; ; ) {
    const page = await get<FleetTenants>('/api/fleet/tenants', { query: { after }, atLeast, signal })
    first ??= page.seq ?? 0
    for (const tenant of page.tenants) tenants.set(tenant.id, tenant)
    if (page.next === null) return { tenants, seq: first }
    after = page.next
  }
}

/** Brings those that are named up to date, in place. */
async function readSome(all: All['tenants'], ids: readonly string[], atLeast: number, signal: AbortSignal): Promise<void> {
  for (let from = 0; from < ids.length; from += NAMED) {
    const some = ids.slice(from, from + NAMED)
    const page = await get<FleetTenants>('/api/fleet/tenants', { query: { named: some.join(',') }, atLeast, signal })
    const there = new Map(page.tenants.map((tenant) => [tenant.id, tenant]))
    for (const id of some) {
      const tenant = there.get(id)
      if (tenant) all.set(id, tenant)
      else all.delete(id)
    }
  }
}

/** Keeps the list until `signal` ends it, and shows each state. */
function keep(show: (state: { data?: TenantLine[]; error: unknown }) => void, signal: AbortSignal): void {
  const touched = new Set<string>()
  let all: All | undefined
  // What all of them must know, since the feed does not tell it.
  let [isBusy, needed, seen] = [false, 0, 0]
  const isStale = (): boolean => all === undefined || all.seq < needed
  const look = async (): Promise<void> => {
    if (isBusy || signal.aborted) return
    isBusy = true
    try {
      while (isStale() || touched.size > 0) {
        const ids = [...touched]
        touched.clear()
        if (all === undefined || isStale() || ids.length > MOST_NAMED) all = await readAll(Math.max(needed, seen), signal)
        else await readSome(all.tenants, ids, seen, signal)
        if (!signal.aborted) show({ data: [...all.tenants.values()], error: undefined })
      }
    } catch (error) {
      if (signal.aborted) return
      all = undefined
      show({ error })
      setTimeout(() => void look(), AGAIN_MS)
    } finally {
      isBusy = false
    }
  }
  signal.addEventListener('abort', follow((events, head) => {
    // None at all: the feed has just begun, and what happened before that came to nobody.
    if (events.length === 0) needed = head
    for (const { tenant_id: id } of events) if (id !== null) touched.add(id)
    seen = head
    if (isStale() || touched.size > 0) setTimeout(() => void look(), TOGETHER_MS)
  }))
  void look()
}

/** All tenants that may be seen, at the moment that is shown. While another moment is fetched they are those of the moment before. */
export function useTenants(): Live<readonly TenantLine[]> {
  const moment = asOf.value
  const [state, setState] = useState<{ data?: TenantLine[]; error: unknown }>({ error: undefined })
  useEffect(() => {
    const stop = new AbortController()
    keep((next) => setState((before) => ({ ...before, ...next })), stop.signal)
    return () => stop.abort()
  }, [moment])
  return { data: state.data, error: state.error, isLoading: state.data === undefined && state.error === undefined }
}
