// Where deployments, failures and restores stand in the journal.
import { get } from '../api/client'
import type { Event, EventList } from '../api/types'
import { firstFrom } from './clock'
import { atRest } from './rest'

export type MarkType = 'deployment' | 'failure' | 'restore'
export type Mark = { seq: number; at: number; type: MarkType }

/** From the top lane of the strip to the lowest. */
export const TYPES: readonly MarkType[] = ['failure', 'deployment', 'restore']

const OF: Partial<Record<Event['kind'], (event: Event) => MarkType>> = {
  'deployment.finished': (event) => (event.data['outcome'] === 'success' ? 'deployment' : 'failure'),
  'instance.restart_scheduled': () => 'failure',
  'instance.start_failed': () => 'failure',
  'tenant.restored': () => 'restore',
}

/** The API's own bound for a page. */
const PAGE = 1000
/** Pages that are read of one kind: a page looks at 200,000 events, so this reaches through a million and more. */
const MOST_PAGES = 8

export function marksOf(events: readonly Event[]): Mark[] {
  return events.flatMap((event) => {
    const type = OF[event.kind]?.(event)
    return type ? [{ seq: event.seq, at: Date.parse(event.at), type }] : []
  })
}

/** Each once, in order. */
export function merged(known: readonly Mark[], more: readonly Mark[]): readonly Mark[] {
  if (more.length === 0) return known
  const bySeq = new Map([...known, ...more].map((mark) => [mark.seq, mark]))
  return [...bySeq.values()].sort((a, b) => a.seq - b.seq)
}

/** Reads the marks behind `after`, the newest first, one request after another, while nobody does anything. */
export async function readMarks(after: number, take: (marks: Mark[]) => void, signal: AbortSignal): Promise<void> {
  for (const kind of Object.keys(OF)) {
    let from: number | undefined
    for (let page = 0; page < MOST_PAGES; page += 1) {
      const query = { kind, order: 'desc', limit: PAGE, to_seq: after + 1, ...(from === undefined ? {} : { from_seq: from }) }
      await atRest(signal)
      const list = await get<EventList>('/api/events', { query, now: true, signal })
      take(marksOf(list.events))
      if (list.next_seq === null || list.next_seq <= after) break
      from = list.next_seq
    }
  }
}

/** The mark before a position, or behind it. */
export function neighbour(marks: readonly Mark[], seq: number, step: -1 | 1): Mark | undefined {
  const place = step < 0 ? firstFrom(marks, seq) - 1 : firstFrom(marks, seq + 1)
  return marks[place]
}

/** How many marks of each type stand in each of `columns` equal parts of the journal. */
export function density(marks: readonly Mark[], head: number, columns: number): Record<MarkType, Uint32Array> {
  const counts = { failure: new Uint32Array(columns), deployment: new Uint32Array(columns), restore: new Uint32Array(columns) }
  for (const { seq, type } of marks) {
    const column = Math.floor(share(seq, head) * (columns - 1))
    const lane = counts[type]
    lane[column] = (lane[column] ?? 0) + 1
  }
  return counts
}

/** Where an event stands in the journal, from 0 to 1. */
export function share(seq: number, head: number): number {
  return head <= 1 ? 1 : Math.min(1, Math.max(0, (seq - 1) / (head - 1)))
}
