// Whether what is shown still comes in. Streams report here, the header shows it.
import { computed, signal } from '@preact/signals'

const broken = signal<ReadonlySet<object>>(new Set())

/** Whether a stream is down; it mends itself. */
export const isLost = computed(() => broken.value.size > 0)

export function lost(stream: object): void {
  if (!broken.value.has(stream)) broken.value = new Set([...broken.value, stream])
}

export function mended(stream: object): void {
  if (!broken.value.has(stream)) return
  const rest = new Set(broken.value)
  rest.delete(stream)
  broken.value = rest
}

const FIRST_WAIT_MS = 500
const LONGEST_WAIT_MS = 15_000

/** How long to wait before the nth attempt in a row, with a part by chance so that not all come at once. */
export function pause(attempt: number): number {
  const whole = Math.min(FIRST_WAIT_MS * 2 ** Math.min(attempt, 10), LONGEST_WAIT_MS)
  return whole / 2 + (Math.random() * whole) / 2
}

/** Waits, or less when the browser says that the network is back. */
export function rest(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      removeEventListener('online', done)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    addEventListener('online', done)
    signal.addEventListener('abort', done)
  })
}
