// The tenants of a moment that is not the one on the page.
import { useEffect, useState } from 'preact/hooks'
import { get } from '../api/client'
import type { TenantLine, TenantList } from '../api/types'

/** The API's own bound. Whoever looks for another types its name. */
const MOST = 1000

/** Those that match, as they were after an event; undefined until they are known. */
export function useTenantsAt(seq: number | null, search = ''): { tenants: TenantLine[] | undefined; error: unknown } {
  const [found, setFound] = useState<{ tenants: TenantLine[] | undefined; error: unknown }>({ tenants: undefined, error: undefined })
  useEffect(() => {
    if (seq === null) return
    const stop = new AbortController()
    get<TenantList>('/api/tenants', { query: { limit: MOST, search, as_of: seq }, now: true, signal: stop.signal }).then(
      ({ tenants }) => setFound({ tenants, error: undefined }),
      (error: unknown) => stop.signal.aborted || setFound({ tenants: undefined, error }),
    )
    return () => stop.abort()
  }, [seq, search])
  return found
}
