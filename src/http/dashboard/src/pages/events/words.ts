// An event's data in a few words.
import type { Event } from '../../api/types'

const FIELDS = 4
const LONGEST = 60

/** Ids say nothing to people, and what they stand for is shown beside. */
const isTold = (name: string, value: unknown): boolean => !name.endsWith('_id') && name !== 'id' && value !== null && value !== undefined

function short(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text
}

export function brief({ data }: Pick<Event, 'data'>): string {
  const told = Object.entries(data).filter(([name, value]) => isTold(name, value))
  return told.slice(0, FIELDS).map(([name, value]) => `${name.replaceAll('_', ' ')} ${short(value)}`).join(', ')
}
