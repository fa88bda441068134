// Which events are wanted: what the address says, for the API and for what comes live.
import type { Event } from '../../api/types'

export const FIELDS = ['kind', 'tenant_id', 'instance', 'actor', 'since', 'until'] as const
export type Field = (typeof FIELDS)[number]
export type Filter = Partial<Record<Field, string>>

export function filterOf(query: URLSearchParams): Filter {
  const named = FIELDS.flatMap((field) => {
    const value = query.get(field)
    return value ? [[field, value] as const] : []
  })
  return Object.fromEntries(named)
}

/** Whether an event that just came is wanted. It is later than any `since`; with an `until` nothing new is. */
export function isWanted(event: Event, { kind, tenant_id: tenant, instance, actor, until }: Filter): boolean {
  return until === undefined
    && (kind === undefined || event.kind.startsWith(kind))
    && (tenant === undefined || event.tenant_id === tenant)
    && (instance === undefined || event.instance === instance)
    && (actor === undefined || event.actor.id === actor)
}

/** What kinds begin with; a whole kind may be typed, too. */
export const KINDS: readonly string[] = [
  'tenant.', 'deployment.', 'instance.', 'health.', 'theme.', 'port.', 'setting.', 'user.', 'token.', 'access.', 'certificate.', 'site.', 'system.',
  'tenant.created', 'tenant.updated', 'tenant.deleted', 'tenant.restored', 'deployment.finished', 'instance.exited', 'access.denied',
]
