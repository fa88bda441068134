// What the benches share: figures, how they are told, and what a page does while it is scrolled.
import type { Page } from '@playwright/test'

export function tell(what: string, figures: number[], unit = 'ms'): void {
  const sorted = figures.toSorted((a, b) => a - b)
  const at = (share: number): string => (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN).toFixed(1)
  process.stdout.write(`bench: ${what}: median ${at(0.5)} ${unit}, p99 ${at(0.99)} ${unit}, most ${at(1)} ${unit} of ${sorted.length}\n`)
}

const AT_ONCE = 16

/** Makes so many things, a few at a time. */
export async function many(first: number, last: number, make: (number: number) => Promise<unknown>): Promise<void> {
  let next = first
  const worker = async (): Promise<void> => {
    while (next < last) {
      next += 1
      await make(next)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}

export type Scrolled = { frames: number[]; long: number[]; distance: number }

/** Pixels in a second: a wheel that is turned fast. */
const SPEED = 6000
const DISTANCE = 60_000

/**
 * Turns the wheel over an element, as the browser's own input does. `frames` is the time between two of them, `long` are those that
 * the browser itself calls long animation frames: over 50 ms, with all that belongs to them.
 */
export async function scrolled(page: Page, selector: string): Promise<Scrolled> {
  const box = await page.locator(selector).boundingBox()
  if (!box) throw new Error(`${selector} is not there`)
  await page.evaluate((what) => {
    const all = { frames: [] as number[], long: [] as number[], isOn: true, from: document.querySelector(what)?.scrollTop ?? 0 }
    Object.assign(globalThis, { scrolling: all })
    new PerformanceObserver((list) => all.long.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'long-animation-frame' })
    let last = performance.now()
    const step = (now: number): void => {
      all.frames.push(now - last)
      last = now
      if (all.isOn) requestAnimationFrame(step)
    }
    requestAnimationFrame(step)
  }, selector)
  const client = await page.context().newCDPSession(page)
  await client.send('Input.synthesizeScrollGesture', {
    x: box.x + box.width / 2, y: box.y + box.height / 2, yDistance: -DISTANCE, speed: SPEED, gestureSourceType: 'mouse', preventFling: true,
  })
  await client.detach()
  return page.evaluate((what) => {
    const { scrolling } = globalThis as unknown as { scrolling: Scrolled & { isOn: boolean; from: number } }
    scrolling.isOn = false
    return { frames: scrolling.frames.slice(1), long: scrolling.long, distance: (document.querySelector(what)?.scrollTop ?? 0) - scrolling.from }
  }, selector)
}

/** As little as a table of so many rows can be: text in as many elements as are seen, moved and filled by hand. */
export async function bareTable(page: Page, rows: number): Promise<void> {
  await page.evaluate((count) => {
    const [height, shown] = [40, 32]
    document.documentElement.replaceChildren(document.createElement('body'))
    const frame = document.createElement('div')
    frame.className = 'bare'
    frame.style.cssText = 'position:relative;height:700px;overflow:auto;contain:strict;font:14px sans-serif'
    const body = document.createElement('div')
    body.style.cssText = `position:relative;height:${count * height}px`
    const lines = Array.from({ length: shown }, () => document.createElement('div'))
    for (const line of lines) line.style.cssText = `position:absolute;left:0;width:100%;height:${height}px;contain:strict`
    const fill = (): void => {
      const first = Math.floor(frame.scrollTop / height)
      for (let row = first; row < first + shown; row += 1) {
        const line = lines[row % shown]
        if (!line || line.dataset['row'] === String(row)) continue
        line.dataset['row'] = String(row)
        line.style.transform = `translateY(${row * height}px)`
        line.textContent = `Candidate ${row} for Office   tenant-${row}.localhost   running   healthy   ${10_000 + row} / ${10_001 + row}`
      }
    }
    frame.addEventListener('scroll', fill)
    body.append(...lines)
    frame.append(body)
    document.body.append(frame)
    fill()
  }, rows)
}
