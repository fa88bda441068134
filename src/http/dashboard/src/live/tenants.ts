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

async function readAll(signal: AbortSignal): Promise<Map<string, TenantLine>> {
  const found = new Map<string, TenantLine>()
  for (let after: string | undefined; ; ) {
    const page = await get<FleetTenants>('/api/fleet/tenants', { query: { after }, signal })
    for (const tenant of page.tenants) found.set(tenant.id, tenant)
    if (page.next === null) return found
    after = page.next
  }
}

/** Brings those that are named up to date, in place. */
async function readSome(all: Map<string, TenantLine>, ids: readonly string[], atLeast: number, signal: AbortSignal): Promise<void> {
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
  let all: Map<string, TenantLine> | undefined
  let [isBusy, isStale, seen] = [false, true, 0]
  const look = async (): Promise<void> => {
    if (isBusy || signal.aborted) return
    isBusy = true
    try {
      while (isStale || touched.size > 0) {
        const ids = [...touched]
        touched.clear()
        if (isStale || all === undefined || ids.length > MOST_NAMED) {
          isStale = false
          all = await readAll(signal)
        } else await readSome(all, ids, seen, signal)
        if (!signal.aborted) show({ data: [...all.values()], error: undefined })
      }
    } catch (error) {
      if (signal.aborted) return
      isStale = true
      show({ error })
      setTimeout(() => void look(), AGAIN_MS)
    } finally {
      isBusy = false
    }
  }
  signal.addEventListener('abort', follow((events) => {
    // None at all: the feed has just begun, and what happened before that came to nobody.
    if (events.length === 0) isStale = true
    for (const { tenant_id: id } of events) if (id !== null) touched.add(id)
    seen = events.at(-1)?.seq ?? seen
    if (isStale || touched.size > 0) setTimeout(() => void look(), TOGETHER_MS)
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
