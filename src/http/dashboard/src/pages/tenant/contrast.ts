// Contrast of colours, as WCAG 2.2 has it.

/** What WCAG AA asks of text. */
export const READABLE = 4.5

type Rgb = readonly [number, number, number]

/** `#rgb` or `#rrggbb`; null is no colour. */
export function rgb(text: string): Rgb | null {
  const short = /^#([0-9a-f])([0-9a-f])([0-9a-f])$/i.exec(text)
  const long = short ? `#${short.slice(1).map((digit) => digit + digit).join('')}` : text
  const parts = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(long)
  if (!parts) return null
  const [, red = '', green = '', blue = ''] = parts
  return [parseInt(red, 16), parseInt(green, 16), parseInt(blue, 16)]
}

/** As `<input type=color>` takes it. */
export function sixDigits(text: string): string {
  const color = rgb(text)
  return color === null ? '#000000' : `#${color.map((part) => part.toString(16).padStart(2, '0')).join('')}`
}

function luminance(color: Rgb): number {
  const [red, green, blue] = color.map((byte) => {
    const part = byte / 255
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  }) as [number, number, number]
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue
}

/** 1 to 21; null when one of them is no colour. */
export function contrast(a: string, b: string): number | null {
  const [one, other] = [rgb(a), rgb(b)]
  if (one === null || other === null) return null
  const [x, y] = [luminance(one), luminance(other)]
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05)
}

/** Black or white, whichever is read better on a colour. */
export const inkOn = (color: string): string => ((contrast(color, '#ffffff') ?? 21) >= (contrast(color, '#000000') ?? 1) ? '#ffffff' : '#000000')

/** Rounded down, so that 4.49 is never shown as enough. */
export const ratio = (value: number): string => `${(Math.floor(value * 100) / 100).toFixed(2)}:1`

/** Sentences about text that is hard to read. */
export function warningsOf({ text_color: text, sidebar_color: sidebar }: { text_color: string; sidebar_color: string }): string[] {
  const grounds = [['the sidebar', sidebar], ['white', '#ffffff']] as const
  return grounds.flatMap(([name, ground]) => {
    const found = contrast(text, ground)
    return found === null || found >= READABLE ? [] : [`Text on ${name} has a contrast of ${ratio(found)}; ${READABLE}:1 is wanted.`]
  })
}
