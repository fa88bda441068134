// Every event: filtered, followed, and each opened with its causes and its proof.
import type { PageProps } from '../pages'
import { EventDetail } from './events/detail'
import { EventList } from './events/list'

export function Events({ rest }: PageProps) {
  const seq = Number(rest[0])
  return Number.isInteger(seq) && seq > 0 ? <EventDetail key={seq} seq={seq} /> : <EventList />
}
