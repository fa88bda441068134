// The moment that every page shows.
import { computed, signal } from '@preact/signals'

/** A position or a time, as `?as_of=` takes it; null is the present, which goes on. */
export const asOf = signal<string | null>(null)

/** Whether what is shown is over: nothing can be changed then. */
export const isPast = computed(() => asOf.value !== null)
