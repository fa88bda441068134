// What nobody waits for is done while nobody does anything: a page that is scrolled has its frames for itself.

const REST_MS = 500
let touched = Number.NEGATIVE_INFINITY
for (const kind of ['scroll', 'wheel', 'keydown', 'pointerdown']) {
  addEventListener(kind, () => (touched = performance.now()), { capture: true, passive: true })
}

/** Returns when nothing was scrolled, typed or pressed for half a second. */
export async function atRest(signal: AbortSignal): Promise<void> {
  for (let left = 0; (left = touched + REST_MS - performance.now()) > 0;) {
    await new Promise((resolve) => setTimeout(resolve, left))
    signal.throwIfAborted()
  }
}
