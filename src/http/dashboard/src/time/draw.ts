// The strip's picture: three lanes of marks, times below them, and the points A and B.
import type { Clock } from './clock'
import { type Mark, TYPES, density, share } from './marks'

/** Half of the slider's thumb: its centre does not reach the ends. Also in the style sheet. */
export const PAD = 7
const LANE = 8
const TOP = 2
const BAR = 2
const LABEL_EVERY = 150

export type Picture = {
  width: number
  height: number
  head: number
  at: number
  marks: readonly Mark[]
  points: readonly { name: string; seq: number }[]
  timeOf: (seq: number) => ReturnType<Clock['at']>
}

const COLOURS = { failure: '--bad', deployment: '--accent', restore: '--good' } as const

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })
const exact = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' })
const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' })
const DAY_MS = 86_400_000
const SHORT_MS = 1_800_000

export function draw(canvas: HTMLCanvasElement, picture: Picture): void {
  const { width, height, head, at } = picture
  const scale = devicePixelRatio
  canvas.width = Math.round(width * scale)
  canvas.height = Math.round(height * scale)
  const context = canvas.getContext('2d')
  if (!context || width <= 2 * PAD) return
  const style = getComputedStyle(canvas)
  const colour = (name: string): string => style.getPropertyValue(name)
  const span = width - 2 * PAD
  const x = (seq: number): number => PAD + share(seq, head) * span
  context.scale(scale, scale)

  const lanes = TYPES.length * LANE
  context.fillStyle = colour('--quiet-soft')
  context.fillRect(PAD, TOP, span, lanes)
  context.fillStyle = colour('--past-soft')
  context.fillRect(x(at), TOP, PAD + span - x(at), lanes)

  const columns = Math.max(1, Math.floor(span / BAR))
  const counts = density(picture.marks, head, columns)
  for (const [lane, type] of TYPES.entries()) {
    context.fillStyle = colour(COLOURS[type])
    for (const [column, count] of counts[type].entries()) {
      if (count === 0) continue
      // One is seen; many are higher, and the lane is full at some thirty.
      const tall = Math.min(LANE - 1, 4 + Math.log2(count) * 0.7)
      context.fillRect(PAD + column * BAR, TOP + lane * LANE + LANE - tall, BAR, tall)
    }
  }
  labels(context, picture, colour('--quiet'), x)
  for (const { name, seq } of picture.points) flag(context, x(seq), lanes, name, colour('--past'), colour('--surface'))
}

function labels(context: CanvasRenderingContext2D, { width, height, head, timeOf }: Picture, colour: string, x: (seq: number) => number): void {
  const [first, last] = [timeOf(1), timeOf(head)]
  if (!first || !last) return
  const length = last.at - first.at
  const form = length > 2 * DAY_MS ? day : length > SHORT_MS ? clock : exact
  const count = Math.max(2, Math.min(head, Math.floor(width / LABEL_EVERY)))
  context.fillStyle = colour
  context.font = '11px system-ui, sans-serif'
  context.textBaseline = 'bottom'
  for (let place = 0; place < count; place += 1) {
    const seq = Math.round(1 + (place / (count - 1)) * (head - 1))
    const when = timeOf(seq)
    if (!when) continue
    context.textAlign = place === 0 ? 'left' : place === count - 1 ? 'right' : 'center'
    context.fillText(form.format(when.at), x(seq), height)
  }
}

function flag(context: CanvasRenderingContext2D, x: number, height: number, name: string, colour: string, text: string): void {
  context.fillStyle = colour
  context.fillRect(x - 0.5, TOP, 1, height)
  context.fillRect(x - 7, TOP, 14, 12)
  context.fillStyle = text
  context.font = 'bold 10px system-ui, sans-serif'
  context.textAlign = 'center'
  context.textBaseline = 'middle'
  context.fillText(name, x, TOP + 6.5)
}
