// The latest events, and how many come in a second.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { get } from '../api/client'
import type { Event, EventList } from '../api/types'
import { follow } from './feed'
import { asOf } from './moment'

const RATE_OVER_MS = 10_000
const RATE_EVERY_MS = 1000

/** Joined by position, newest first, each once. */
export function joined(known: readonly Event[], more: readonly Event[], most: number): Event[] {
  const bySeq = new Map([...known, ...more].map((event) => [event.seq, event]))
  return [...bySeq.values()].sort((a, b) => b.seq - a.seq).slice(0, most)
}

export type Ticker = { events: readonly Event[]; perSecond: number; error: unknown }

export function useTicker(most: number): Ticker {
  const events = useSignal<readonly Event[]>([])
  const error = useSignal<unknown>(undefined)
  const perSecond = useSignal(0)
  const moment = asOf.value
  useEffect(() => {
    const stop = new AbortController()
    const came: { at: number; count: number }[] = []
    events.value = []
    // First the feed, then what was before: nothing falls between them.
    const unfollow = follow((batch) => {
      came.push({ at: Date.now(), count: batch.length })
      events.value = joined(events.value, batch, most)
    })
    get<EventList>('/api/events', { query: { order: 'desc', limit: most }, signal: stop.signal }).then(
      (list) => (events.value = joined(events.value, list.events, most)),
      (refusal: unknown) => stop.signal.aborted || (error.value = refusal),
    )
    const timer = setInterval(() => {
      const since = Date.now() - RATE_OVER_MS
      while (came[0] && came[0].at < since) came.shift()
      perSecond.value = came.reduce((sum, { count }) => sum + count, 0) / (RATE_OVER_MS / 1000)
    }, RATE_EVERY_MS)
    return () => {
      stop.abort()
      clearInterval(timer)
      unfollow()
    }
  }, [most, moment])
  return { events: events.value, perSecond: perSecond.value, error: error.value }
}
