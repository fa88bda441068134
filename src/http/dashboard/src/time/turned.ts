// How long it takes from the slider's rest until the page shows the other moment: as `time:turn` among the browser's
// performance measures, and for whoever rests on the label.
import { effect, signal } from '@preact/signals'
import { inFlight } from '../api/client'

export const lastTurn = signal<number | null>(null)
let latest = 0

const frame = (): Promise<number> => new Promise(requestAnimationFrame)

function allAnswered(): Promise<void> {
  return new Promise((resolve) => {
    let isDone = false
    const stop = effect(() => {
      if (inFlight.value > 0 || isDone) return
      isDone = true
      // An effect cannot end itself while it runs for the first time.
      queueMicrotask(() => stop())
      resolve()
    })
  })
}

export async function measureTurn(): Promise<void> {
  const mine = (latest += 1)
  performance.mark('time:rest')
  // Pages ask when they have been drawn with the new moment.
  await frame()
  await frame()
  await allAnswered()
  await frame()
  if (mine !== latest) return
  performance.mark('time:turned')
  lastTurn.value = performance.measure('time:turn', 'time:rest', 'time:turned').duration
}
