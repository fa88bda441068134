// Lines of output that come from two sides: what is there, and what comes.
import type { Level, OutputLine } from '../../api/types'
import { MOST_LINES, type LogLine } from '../../kit/log'

/** More than are drawn, so that a level can be chosen among them. */
export const KEPT = 5 * MOST_LINES

const isSame = (a: OutputLine | undefined, b: OutputLine | undefined): boolean =>
  a !== undefined && b !== undefined && a.timestamp === b.timestamp && a.message === b.message

/** What came live behind what was read; where both hold the same lines, each once. */
export function continued(read: readonly OutputLine[], live: readonly OutputLine[]): OutputLine[] {
  for (let both = Math.min(read.length, live.length); both > 0; both -= 1) {
    const first = read.length - both
    if (live.slice(0, both).every((line, place) => isSame(line, read[first + place]))) return [...read, ...live.slice(both)]
  }
  return [...read, ...live]
}

const WEIGHTS: Record<Level, number> = { debug: 0, info: 1, warn: 2, error: 3 }

/** Of this level or a graver one. */
export const isAtLeast = (line: OutputLine, level: Level | ''): boolean => level === '' || WEIGHTS[line.level] >= WEIGHTS[level]

export const shown = (line: OutputLine, place: number): LogLine => ({ key: `${line.timestamp} ${place}`, at: line.timestamp, level: line.level, text: line.message })
