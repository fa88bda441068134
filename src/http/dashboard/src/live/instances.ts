// Every instance, however many there are. The first thousand are a live query. What lies behind that is read page by page, and again
// when the first page or the feed says that something happened, at most every REREAD_MS.
import { useEffect, useState } from 'preact/hooks'
import { get } from '../api/client'
import type { InstanceLine, InstanceList } from '../api/types'
import { follow } from './feed'
import { asOf } from './moment'
import { type Live, useLive } from './use'

/** The API's own bound. */
const PAGE = 1000
const REREAD_MS = 10_000

export function useInstances(): Live<InstanceLine[]> {
  const first = useLive<InstanceList>(`/api/instances?limit=${PAGE}`)
  const [rest, setRest] = useState<InstanceLine[]>([])
  const count = first.data?.pagination.total ?? 0
  const moment = asOf.value
  useEffect(() => {
    setRest([])
    if (count <= PAGE) return
    const stop = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    const read = async (): Promise<void> => {
      const pages: InstanceLine[] = []
      for (let offset = PAGE; offset < count; offset += PAGE) {
        // One after another: the server has others to serve.
        pages.push(...(await get<InstanceList>('/api/instances', { query: { limit: PAGE, offset }, signal: stop.signal })).instances)
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
  }, [count, moment])
  if (first.data === undefined) return { ...first, data: undefined }
  return { ...first, data: rest.length === 0 ? first.data.instances : [...first.data.instances, ...rest] }
}
