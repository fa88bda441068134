// Two moments that are compared, and what is done with the moment that is shown.
import { signal } from '@preact/signals'

export type PointName = 'A' | 'B'

export const points = signal<Readonly<Record<PointName, number | null>>>({ A: null, B: null })
/** Which dialog is open. */
export const opened = signal<{ what: 'compare' } | { what: 'restore'; moment: number; tenant: string | null } | null>(null)

export function setPoint(name: PointName, seq: number | null): void {
  points.value = { ...points.value, [name]: seq }
}

/** The earlier one first; null while one is missing. */
export function span(): { from: number; to: number } | null {
  const { A, B } = points.value
  return A === null || B === null ? null : { from: Math.min(A, B), to: Math.max(A, B) }
}
