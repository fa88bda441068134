// Events, newest first: a page, older ones as they are scrolled to, and new ones as they come.
import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { get } from '../../api/client'
import type { Event, EventList } from '../../api/types'
import { follow } from '../../live/feed'
import { asOf } from '../../live/moment'
import { joined } from '../../live/ticker'
import { type Filter, isWanted } from './filter'

const PAGE = 200
/** What a browser holds without anybody noticing. */
const MOST = 50_000
/** Pages in a row that may be empty, since one request looks at a part of a long journal. */
const MOST_EMPTY = 10

export type Read = {
  events: readonly Event[]
  /** New ones that are held back while it is paused. */
  waiting: number
  isPaused: boolean
  isLoading: boolean
  hasMore: boolean
  error: unknown
  pause: (value: boolean) => void
  older: () => void
}

export function useEvents(filter: Filter): Read {
  const events = useSignal<readonly Event[]>([])
  const held = useSignal<readonly Event[]>([])
  const isPaused = useSignal(false)
  const isLoading = useSignal(true)
  const next = useSignal<number | null>(null)
  const error = useSignal<unknown>(undefined)
  const running = useRef<AbortController | null>(null)
  const key = JSON.stringify(filter)
  const moment = asOf.value

  const read = async (from: number | null): Promise<void> => {
    const stop = new AbortController()
    running.current?.abort()
    running.current = stop
    isLoading.value = true
    try {
      let at = from
      for (let empty = 0; empty < MOST_EMPTY; empty += 1) {
        const query = { ...filter, order: 'desc', limit: PAGE, ...(at === null ? {} : { from_seq: at }) }
        const page = await get<EventList>('/api/events', { query, signal: stop.signal })
        events.value = joined(events.value, page.events, MOST)
        at = next.value = page.next_seq
        if (page.events.length > 0 || at === null) break
      }
      isLoading.value = false
    } catch (refusal) {
      if (stop.signal.aborted) return
      error.value = refusal
      isLoading.value = false
    }
  }
  useEffect(() => {
    events.value = []
    held.value = []
    error.value = undefined
    const unfollow = follow((batch) => {
      const wanted = batch.filter((event) => isWanted(event, filter))
      if (wanted.length === 0) return
      if (isPaused.value) held.value = joined(held.value, wanted, MOST)
      else events.value = joined(events.value, wanted, MOST)
    })
    void read(null)
    return () => {
      running.current?.abort()
      unfollow()
    }
  }, [key, moment])
  return {
    events: events.value,
    waiting: held.value.length,
    isPaused: isPaused.value,
    isLoading: isLoading.value,
    hasMore: next.value !== null,
    error: error.value,
    pause: (value) => {
      isPaused.value = value
      if (value) return
      events.value = joined(events.value, held.value, MOST)
      held.value = []
    },
    older: () => {
      if (next.value !== null && !isLoading.value && events.value.length < MOST) void read(next.value)
    },
  }
}
