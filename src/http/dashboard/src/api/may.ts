// What whoever is logged in may do. The server decides; this keeps the page from offering what it would refuse.
import { session } from './session'
import type { Role } from './types'

const ORDER: readonly Role[] = ['viewer', 'operator', 'admin']

export function may(needed: Role): boolean {
  const role = session.value?.user.role
  return role !== undefined && ORDER.indexOf(role) >= ORDER.indexOf(needed)
}
