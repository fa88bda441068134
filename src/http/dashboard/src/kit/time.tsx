// Times and lengths of time. The clock ticks once for the whole page, and not while it is hidden.
import { computed, signal } from '@preact/signals'
import { useMemo } from 'preact/hooks'

const TICK_MS = 1000
const now = signal(Date.now())
setInterval(() => !document.hidden && (now.value = Date.now()), TICK_MS)

const STEPS: readonly [name: string, seconds: number][] = [['d', 86_400], ['h', 3600], ['min', 60], ['s', 1]]

/** `3 d 4 h`, `12 min`, `5 s`, `320 ms`: the two largest parts. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`
  let left = Math.floor(ms / 1000)
  const words: string[] = []
  for (const [name, seconds] of STEPS) {
    const count = Math.floor(left / seconds)
    left -= count * seconds
    if (count > 0) words.push(`${count} ${name}`)
    // Seconds say nothing beside hours.
    if (words.length === 2 || (words.length === 1 && seconds >= 3600 && left < 60)) break
  }
  return words.join(' ')
}

const whole = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' })
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' })

function since(then: number): string {
  const passed = now.value - then
  return passed < 2000 ? 'now' : `${duration(passed).split(' ').slice(0, 2).join(' ')} ago`
}

/** How long ago; the exact time where the pointer rests. A tick of the clock touches only the words that became others. */
export function Ago({ at }: { at: string }) {
  const { title, words } = useMemo(() => {
    const then = Date.parse(at)
    return { title: whole.format(then), words: computed(() => since(then)) }
  }, [at])
  return <time dateTime={at} title={title}>{words}</time>
}

/** A moment as it stands, in the reader's time zone. */
export function At({ at, short = false }: { at: string; short?: boolean }) {
  const then = Date.parse(at)
  return <time dateTime={at} title={whole.format(then)}>{(short ? clock : whole).format(then)}</time>
}
