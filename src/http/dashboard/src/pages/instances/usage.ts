// What instances use, for the rows of a table that are seen. The list does not tell it, so each is asked for, a few at a
// time, and known for as long as one measurement holds.
import { type Signal, signal } from '@preact/signals'
import { get } from '../../api/client'
import type { InstanceMetrics } from '../../api/types'

const AT_ONCE = 2
/** The server's own interval between two measurements. */
const FRESH_MS = 10_000

type Usage = { value: Signal<InstanceMetrics | null>; at: number }
const known = new Map<string, Usage>()
const wanted: string[] = []
let running = 0

function next(): void {
  while (running < AT_ONCE) {
    // The last one asked for is the one that is seen.
    const path = wanted.pop()
    if (path === undefined) return
    running += 1
    get<InstanceMetrics>(path, { now: true })
      .then((metrics) => {
        const usage = known.get(path)
        if (usage) usage.value.value = metrics
      }, () => undefined)
      .finally(() => {
        running -= 1
        next()
      })
  }
}

export function usageOf(service: string, id: string): Signal<InstanceMetrics | null> {
  const path = `/api/metrics/${encodeURIComponent(service)}/${encodeURIComponent(id)}`
  const usage = known.get(path) ?? { value: signal<InstanceMetrics | null>(null), at: 0 }
  known.set(path, usage)
  if (Date.now() - usage.at > FRESH_MS) {
    usage.at = Date.now()
    wanted.push(path)
    next()
  }
  return usage.value
}
