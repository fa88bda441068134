// Names of tenants, for pages that show some of many. They are asked for together, and again when an event may have changed one.
import { effect, signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { get } from '../api/client'
import { session } from '../api/session'
import type { FleetTenants } from '../api/types'
import { follow } from './feed'
import { asOf } from './moment'

/** The API's own bound for what one request names. */
const NAMED = 100

const names = signal<ReadonlyMap<string, string>>(new Map())
const asked = new Set<string>()
let waiting: string[] = []
let era = new AbortController()

// Another moment has other names, and somebody else may see other tenants.
effect(() => {
  void asOf.value
  void session.value
  era.abort()
  era = new AbortController()
  asked.clear()
  waiting = []
  names.value = new Map()
})

async function read(): Promise<void> {
  const { signal: stop } = era
  while (waiting.length > 0) {
    const ids = waiting.splice(0, NAMED)
    try {
      const { tenants } = await get<FleetTenants>('/api/fleet/tenants', { query: { named: ids.join(',') }, signal: stop })
      if (stop.aborted) return
      names.value = new Map([...names.peek(), ...tenants.map(({ id, name }) => [id, name] as const)])
    } catch {
      if (stop.aborted) return
      // Its id is shown; whoever asks next tries again.
      for (const id of ids) asked.delete(id)
    }
  }
}

function want(ids: readonly string[]): void {
  const fresh = ids.filter((id) => !asked.has(id))
  if (fresh.length === 0) return
  for (const id of fresh) asked.add(id)
  // One that reads already takes these as well.
  if (waiting.push(...fresh) === fresh.length) queueMicrotask(() => void read())
}

/** The names that are known of these, at the moment that is shown; those of deleted tenants never are. */
export function useNames(ids: readonly (string | null)[]): ReadonlyMap<string, string> {
  const moment = asOf.value
  const wanted = [...new Set(ids.filter((id) => id !== null))]
  const key = wanted.join()
  useEffect(() => want(wanted), [key, moment])
  useEffect(() => follow((events) => {
    const changed = events.flatMap(({ kind, tenant_id: id }) => (id !== null && /^tenant\./.test(kind) && asked.delete(id) ? [id] : []))
    want(changed)
  }), [])
  return names.value
}
