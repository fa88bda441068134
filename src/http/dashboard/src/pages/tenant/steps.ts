// How far a deployment is, from its steps. The server counts alike; this is for moments without its messages.
import type { Step } from '../../api/types'

const OVER = new Set<Step['status']>(['success', 'failed', 'skipped', 'rolled_back'])

/** Percent of the steps that are done; one that runs counts half. */
export function percentOf(steps: readonly Step[], status: string): number {
  if (status === 'success') return 100
  const halves = steps.reduce((sum, step) => sum + (OVER.has(step.status) ? 2 : step.status === 'running' ? 1 : 0), 0)
  return steps.length === 0 ? 0 : Math.floor((halves * 50) / steps.length)
}

/** In a few words, for who cannot see the list. */
export function summaryOf(steps: readonly Step[], status: string): string {
  if (status === 'success') return 'All steps are done'
  const running = steps.find((step) => step.status === 'running')
  if (running) return `${running.name} (${steps.indexOf(running) + 1} of ${steps.length})`
  const failed = steps.find((step) => step.status === 'failed')
  if (failed) return `${failed.name} failed`
  return status === 'cancelled' ? 'Cancelled' : 'Waiting'
}
