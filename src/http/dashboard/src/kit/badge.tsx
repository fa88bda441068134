// The state of a thing: a dot with a colour, and always its word, too.

export type Tone = 'good' | 'busy' | 'warn' | 'bad' | 'quiet'

const TONES: Record<string, Tone> = {
  running: 'good', healthy: 'good', success: 'good', up: 'good', active: 'good', ready: 'good',
  deploying: 'busy', starting: 'busy', stopping: 'busy', pending: 'busy', activating: 'busy', processing: 'busy',
  degraded: 'warn', restarting: 'warn', warning: 'warn', cancelled: 'warn', rolled_back: 'warn',
  error: 'bad', unhealthy: 'bad', failed: 'bad', down: 'bad', critical: 'bad',
}

export const toneOf = (state: string): Tone => TONES[state] ?? 'quiet'

export function Badge({ state, label }: { state: string; label?: string }) {
  return <span class={`badge ${toneOf(state)}`}>{label ?? state.replaceAll('_', ' ')}</span>
}
