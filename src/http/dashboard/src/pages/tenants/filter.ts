// Which tenants are shown.
import type { TenantLine, TenantStatus } from '../../api/types'

const STATUSES: readonly TenantStatus[] = ['running', 'deploying', 'pending', 'stopped', 'error']
/** What can be asked for: the states, and those that are not well. */
export const STATES: readonly string[] = [...STATUSES, 'unhealthy']

export const isUnwell = (tenant: TenantLine): boolean =>
  tenant.status === 'error' || tenant.health_status === 'unhealthy' || tenant.health_status === 'degraded'

/** Those of a state whose name, slug or domains hold every word. */
export function matching(tenants: readonly TenantLine[], search: string, state: string): readonly TenantLine[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean)
  if (words.length === 0 && state === '') return tenants
  return tenants.filter((tenant) => {
    if (state === 'unhealthy' ? !isUnwell(tenant) : state !== '' && tenant.status !== state) return false
    const text = `${tenant.name} ${tenant.slug} ${tenant.domain} ${tenant.api_domain ?? ''}`.toLowerCase()
    return words.every((word) => text.includes(word))
  })
}
