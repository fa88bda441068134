// Dark or light: as the system says, until somebody chooses.
import { computed, effect, signal } from '@preact/signals'

export type Scheme = 'system' | 'light' | 'dark'

const KEY = 'tenantry.scheme'
const known = localStorage.getItem(KEY)

export const scheme = signal<Scheme>(known === 'light' || known === 'dark' ? known : 'system')

const query = matchMedia('(prefers-color-scheme: dark)')
const system = signal(query.matches)
query.addEventListener('change', () => (system.value = query.matches))

/** What is seen. A canvas does not see style sheets: whatever draws one reads this, and so draws again. */
export const isDark = computed(() => (scheme.value === 'system' ? system.value : scheme.value === 'dark'))

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
  scheme.value = isDark.value ? 'light' : 'dark'
}
