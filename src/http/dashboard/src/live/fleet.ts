// Whole lists, however long. The first thousand are a live query. What lies behind that is read page by page, and again
// when the first page or the feed says that something happened, at most every REREAD_MS.
import { useEffect, useState } from 'preact/hooks'
import { get } from '../api/client'
import type { InstanceLine, InstanceList, TenantLine, TenantList } from '../api/types'
import { follow } from './feed'
import { asOf } from './moment'
import { type Live, useLive } from './use'

/** The API's own bound. */
const PAGE = 1000
const REREAD_MS = 10_000

type Source<Body, Row> = { path: string; rows: (body: Body) => Row[]; total: (body: Body) => number }

const TENANTS: Source<TenantList, TenantLine> = { path: '/api/tenants', rows: (body) => body.tenants, total: (body) => body.total }
const INSTANCES: Source<InstanceList, InstanceLine> = {
  path: '/api/instances',
  rows: (body) => body.instances,
  total: (body) => body.pagination.total,
}

function useFleet<Body, Row>({ path, rows, total }: Source<Body, Row>): Live<Row[]> {
  const first = useLive<Body>(`${path}?limit=${PAGE}`)
  const [rest, setRest] = useState<Row[]>([])
  const count = first.data === undefined ? 0 : total(first.data)
  const moment = asOf.value
  useEffect(() => {
    setRest([])
    if (count <= PAGE) return
    const stop = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    const read = async (): Promise<void> => {
      const offsets = Array.from({ length: Math.ceil(count / PAGE) - 1 }, (_, page) => (page + 1) * PAGE)
      const pages: Row[] = []
      for (const offset of offsets) {
        // One after another: the server has others to serve.
        pages.push(...rows(await get<Body>(path, { query: { limit: PAGE, offset }, signal: stop.signal })))
      }
      setRest(pages)
    }
    // What fails here is tried again with the next event; the header shows a lost connection.
    const later = (): void => {
      timer ??= setTimeout(() => {
        timer = undefined
        void read().catch(() => undefined)
      }, REREAD_MS)
    }
    void read().catch(later)
    const unfollow = follow(later)
    return () => {
      stop.abort()
      clearTimeout(timer)
      unfollow()
    }
  }, [path, count, moment])
  if (first.data === undefined) return { ...first, data: undefined }
  return { ...first, data: rest.length === 0 ? rows(first.data) : [...rows(first.data), ...rest] }
}

export const useTenants = (): Live<TenantLine[]> => useFleet(TENANTS)
export const useInstances = (): Live<InstanceLine[]> => useFleet(INSTANCES)
