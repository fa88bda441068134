// Who is logged in.
//
// The token lies in this origin's sessionStorage: other origins cannot read it, it ends with the tab,
// and it survives a reload. A script of our own origin could read it, wherever it lay; so the page's
// policy lets none in but ours, and nothing that came from elsewhere ever becomes markup. A cookie
// would be sent by other sites' requests, too; the API takes none.
import { signal } from '@preact/signals'
import type { User } from './types'

export type Session = { token: string; user: User }

const KEY = 'tenantry.session'

function stored(): Session | null {
  try {
    const value: unknown = JSON.parse(sessionStorage.getItem(KEY) ?? 'null')
    if (typeof value !== 'object' || value === null || !('token' in value) || !('user' in value)) return null
    return value as Session
  } catch {
    return null
  }
}

export const session = signal<Session | null>(stored())
/** Why nobody is logged in any more, for the login page. */
export const farewell = signal('')

export function begin(next: Session): void {
  sessionStorage.setItem(KEY, JSON.stringify(next))
  farewell.value = ''
  session.value = next
}

export function end(reason = ''): void {
  sessionStorage.removeItem(KEY)
  if (session.value === null) return
  farewell.value = reason
  session.value = null
}
