// The journal as the time machine knows it: its length, its marks, the times of its events.
import { computed, signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { get } from '../api/client'
import type { Event, EventList, JournalStats } from '../api/types'
import { follow } from '../live/feed'
import { asOf } from '../live/moment'
import { Clock } from './clock'
import { type Mark, marksOf, merged, readMarks } from './marks'

export const head = signal(0)
export const marks = signal<readonly Mark[]>([])
/** What stands at a position that was asked about. */
export const standing = signal<Event | null>(null)
const clock = new Clock()
/** Grows when the clock learned something. */
const learned = signal(0)
/** A moment that is no position, as the server understood it. */
const resolved = signal<{ moment: string; seq: number } | null>(null)

/** The position of what is shown; null in the present, or while it is not known. */
export const shownSeq = computed(() => {
  const moment = asOf.value
  if (moment === null) return null
  if (/^\d+$/.test(moment)) return Number(moment)
  return resolved.value?.moment === moment ? resolved.value.seq : null
})

export const timeOf = (seq: number): ReturnType<Clock['at']> => {
  void learned.value
  return clock.at(seq)
}

function learn(found: readonly { seq: number; at: number }[]): void {
  clock.add(found)
  learned.value += 1
}

const anchor = ({ seq, at }: Event): { seq: number; at: number } => ({ seq, at: Date.parse(at) })

/** Keeps what is known of the journal up to date, while somebody looks. */
export function useJournal(): void {
  const isPresent = asOf.value === null
  useEffect(() => {
    const stop = new AbortController()
    const grow = (seq: number): void => void (head.value = Math.max(head.value, seq))
    const take = (found: Mark[]): void => {
      marks.value = merged(marks.value, found)
      learn(found)
    }
    const unfollow = follow((events) => {
      const last = events.at(-1)
      if (!last) return
      grow(last.seq)
      learn([anchor(last)])
      take(marksOf(events))
    })
    const known = marks.value.at(-1)?.seq ?? 0
    const read = async (): Promise<void> => {
      const stats = await get<JournalStats>('/api/journal', { now: true, signal: stop.signal })
      grow(stats.head_seq)
      learn([{ seq: 1, at: Date.parse(stats.first_at) }, { seq: stats.head_seq, at: Date.parse(stats.last_at) }])
      await readMarks(known, take, stop.signal)
    }
    // Without marks one can travel all the same, and the header shows a lost connection.
    read().catch(() => undefined)
    return () => {
      stop.abort()
      unfollow()
    }
  }, [isPresent])
}

/** Asks what stands at the moment that is shown, so that its time is exact. */
export function useStanding(): void {
  const moment = asOf.value
  useEffect(() => {
    standing.value = null
    if (moment === null) return
    const stop = new AbortController()
    const query = { order: 'desc', limit: 1, as_of: moment }
    get<EventList>('/api/events', { query, now: true, signal: stop.signal }).then(
      ({ events, head_seq: seq }) => {
        resolved.value = { moment, seq }
        head.value = Math.max(head.value, seq)
        learn(events.map(anchor))
        standing.value = events[0] ?? null
      },
      () => undefined,
    )
    return () => stop.abort()
  }, [moment])
}
