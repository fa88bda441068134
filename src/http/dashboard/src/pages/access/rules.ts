// What of users and tokens a page can check.
import type { Role } from '../../api/types'
import type { Check } from '../../kit/form'

export const ROLES: readonly (readonly [Role, string])[] = [['viewer', 'Viewer: looks'], ['operator', 'Operator: looks after tenants'], ['admin', 'Administrator: everything']]

const SHORTEST = 8
const LONGEST = 1024

/** The server counts bytes. */
export const password: Check = (value) => {
  const { length } = new TextEncoder().encode(value)
  return length >= SHORTEST && length <= LONGEST ? undefined : `${SHORTEST} to ${LONGEST} bytes.`
}
