// What changed, in an order that people read.
import type { Change, Event } from '../api/types'

export type Group = { title: string; changes: Change[] }

const TITLES: Record<string, string> = {
  config: 'Configuration', theme: 'Theme', frontend: 'Frontend process', backend: 'Backend process', health: 'Health', certificate: 'Certificate', deployment: 'Deployment',
}

/** Fields by what stands before their first point; what has none are the tenant's own, and come first. */
export function grouped(changes: readonly Change[]): Group[] {
  const groups = new Map<string, Change[]>()
  for (const change of changes) {
    const [first = ''] = change.field.split('.')
    const key = change.field.includes('.') ? first : ''
    groups.set(key, [...(groups.get(key) ?? []), change])
  }
  const title = (key: string): string => (key === '' ? 'Tenant' : (TITLES[key] ?? key))
  return [...groups]
    .sort(([a], [b]) => Number(a !== '') - Number(b !== '') || title(a).localeCompare(title(b)))
    .map(([key, found]) => ({ title: title(key), changes: found }))
}

/** A value as one reads it. */
export function shown(value: unknown): string {
  if (value === null || value === undefined) return 'nothing'
  return typeof value === 'string' ? value : JSON.stringify(value)
}

export type Summary = { key: string; tenant: string | null; title: string; count: number; kinds: [kind: string, count: number][]; first: string; last: string }

/** Events by what they are about: a tenant, an instance of a service, or the control plane itself. */
export function summarized(events: readonly Event[], names: ReadonlyMap<string, string>): Summary[] {
  const found = new Map<string, { tenant: string | null; title: string; events: Event[] }>()
  for (const event of events) {
    const key = event.tenant_id ?? event.instance ?? ''
    const title = event.tenant_id === null ? (event.instance ?? 'Control plane') : (names.get(event.tenant_id) ?? event.tenant_id)
    const group = found.get(key) ?? { tenant: event.tenant_id, title, events: [] }
    group.events.push(event)
    found.set(key, group)
  }
  return [...found]
    .map(([key, { tenant, title, events: those }]) => {
      const kinds = new Map<string, number>()
      for (const { kind } of those) kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
      const sorted = [...kinds].sort((a, b) => b[1] - a[1])
      return { key, tenant, title, count: those.length, kinds: sorted, first: those[0]?.at ?? '', last: those.at(-1)?.at ?? '' }
    })
    .sort((a, b) => b.count - a.count)
}
