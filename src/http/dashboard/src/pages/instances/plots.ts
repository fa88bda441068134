// Measurements as the charts draw them.
import type { AlignedData } from 'uplot'
import type { MetricsHistory, Sample } from '../../api/types'

export type Plot = {
  title: string
  unit: string
  series: readonly { name: string; colour: '--accent' | '--good' | '--bad'; isFilled?: boolean }[]
  /** The least that the axis reaches up to, so that noise is not a mountain. */
  least: number
  data: AlignedData
}

export function plotsOf({ samples, interval_seconds: interval }: MetricsHistory): Plot[] {
  const times = samples.map(({ at }) => Date.parse(at) / 1000)
  const of = (value: (sample: Sample) => number | null): (number | null)[] => samples.map(value)
  return [
    { title: 'Memory', unit: 'MiB', series: [{ name: 'Memory', colour: '--accent', isFilled: true }], least: 1, data: [times, of((sample) => sample.memory_mb)] },
    { title: 'CPU', unit: '%', series: [{ name: 'CPU', colour: '--good', isFilled: true }], least: 5, data: [times, of((sample) => sample.cpu_percent)] },
    {
      title: 'Requests and errors', unit: '/s', least: 1,
      series: [{ name: 'Requests', colour: '--accent' }, { name: 'Errors', colour: '--bad', isFilled: true }],
      data: [times, of((sample) => sample.requests / interval), of((sample) => sample.errors / interval)],
    },
  ]
}

/** The newest values, in words. */
export function latest({ data, unit, series }: Plot): string {
  const values = series.map((_, place) => data[place + 1]?.at(-1) ?? null)
  if (values.every((value) => value === null)) return 'no process'
  return `${values.map((value) => (value === null ? 'none' : value.toFixed(1))).join(' / ')} ${unit}`
}
