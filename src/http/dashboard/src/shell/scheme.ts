// Dark or light: as the system says, until somebody chooses.
import { effect, signal } from '@preact/signals'

export type Scheme = 'system' | 'light' | 'dark'

const KEY = 'tenantry.scheme'
const known = localStorage.getItem(KEY)

export const scheme = signal<Scheme>(known === 'light' || known === 'dark' ? known : 'system')

const system = matchMedia('(prefers-color-scheme: dark)')

effect(() => {
  if (scheme.value === 'system') {
    delete document.documentElement.dataset['scheme']
    localStorage.removeItem(KEY)
  } else {
    document.documentElement.dataset['scheme'] = scheme.value
    localStorage.setItem(KEY, scheme.value)
  }
})

/** To the other of the two, from what is seen now. */
export function toggle(): void {
  const isDark = scheme.value === 'system' ? system.matches : scheme.value === 'dark'
  scheme.value = isDark ? 'light' : 'dark'
}
