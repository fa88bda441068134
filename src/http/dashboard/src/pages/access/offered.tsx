// Tenants to choose from: some dozens at once, and a search where there are more.
import type { Signal } from '@preact/signals'
import type { TenantLine } from '../../api/types'
import { matching } from '../tenants/filter'

/** As many as one looks through; a form of ten thousand would take a second to draw. */
export const SHOWN = 50

/** The first that match, behind those that are chosen and do not, and how many more do. */
export function offered(tenants: readonly TenantLine[], search: string, chosen: readonly string[]): { shown: readonly TenantLine[]; more: number } {
  const found = matching(tenants, search, '')
  const first = found.slice(0, SHOWN)
  const kept = new Set(first.map(({ id }) => id))
  const others = tenants.filter(({ id }) => chosen.includes(id) && !kept.has(id))
  return { shown: [...others, ...first], more: found.length - first.length }
}

/** The field to search in; nothing where all are shown. */
export function SearchTenants({ search, count }: { search: Signal<string>; count: number }) {
  if (count <= SHOWN) return null
  return (
    <input
      type="search"
      aria-label="Search tenants to choose from"
      placeholder="Name, slug or domain"
      value={search.value}
      onInput={(event) => (search.value = event.currentTarget.value)}
    />
  )
}

/** That there are more. */
export const More = ({ more }: { more: number }) => (more > 0 ? <p class="quiet" role="status">and {more} more: search for one</p> : null)
