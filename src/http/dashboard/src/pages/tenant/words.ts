// A history in words.
import type { Event, HistoryEntry } from '../../api/types'

const LONGEST = 300

/** A value of any sort on a line. */
export function worded(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text
}

/** Kinds whose command has one that takes it back; the server has the last word. */
const UNDONE: ReadonlySet<string> = new Set<Event['kind']>([
  'tenant.created', 'tenant.updated', 'tenant.restored', 'tenant.config_updated', 'theme.updated', 'deployment.requested',
  'deployment.cancel_requested', 'instance.start_requested', 'instance.stop_requested',
])

export const mayUndo = ({ kind, actor }: HistoryEntry): boolean => UNDONE.has(kind) && actor.type !== 'system'
