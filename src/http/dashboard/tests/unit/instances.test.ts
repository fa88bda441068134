import { describe, expect, it } from 'vitest'
import type { Level, OutputLine } from '../../src/api/types'
import { continued, isAtLeast } from '../../src/pages/instances/lines'
import { latest, plotsOf } from '../../src/pages/instances/plots'

const line = (at: number, message: string, level: Level = 'info'): OutputLine => ({ timestamp: new Date(at).toISOString(), instance: 'api:one', level, message })
const texts = (lines: readonly OutputLine[]): string[] => lines.map(({ message }) => message)

describe('output', () => {
  const [a, b, c, d] = [line(1, 'a'), line(2, 'b'), line(3, 'c'), line(4, 'd')] as const

  it('goes on with what came live, each line once', () => {
    expect(texts(continued([a, b, c], [b, c, d]))).toEqual(['a', 'b', 'c', 'd'])
    expect(texts(continued([a, b], [c, d]))).toEqual(['a', 'b', 'c', 'd'])
    expect(texts(continued([a, b, c], [c]))).toEqual(['a', 'b', 'c'])
    expect(texts(continued([], [a]))).toEqual(['a'])
    expect(texts(continued([a], []))).toEqual(['a'])
  })

  it('keeps lines that are printed twice', () => {
    const again = line(5, 'd')
    expect(texts(continued([a, d], [d, again]))).toEqual(['a', 'd', 'd'])
  })

  it('of a level holds the graver ones', () => {
    expect((['debug', 'info', 'warn', 'error'] as const).filter((level) => isAtLeast(line(1, '', level), 'warn'))).toEqual(['warn', 'error'])
    expect(isAtLeast(line(1, '', 'debug'), '')).toBe(true)
  })
})

describe('charts', () => {
  const samples = [
    { at: '2026-01-01T00:00:00Z', memory_mb: 10, cpu_percent: 1, requests: 20, errors: 0 },
    { at: '2026-01-01T00:00:10Z', memory_mb: null, cpu_percent: null, requests: 50, errors: 5 },
  ]

  it('draw requests for each second, and a gap where no process was', () => {
    const [memory, , requests] = plotsOf({ instance: 'api:one', interval_seconds: 10, samples })
    expect(memory?.data[1]).toEqual([10, null])
    expect(memory && latest(memory)).toBe('no process')
    expect(requests?.data.slice(1)).toEqual([[2, 5], [0, 0.5]])
    expect(requests && latest(requests)).toBe('5.0 / 0.5 /s')
  })
})
