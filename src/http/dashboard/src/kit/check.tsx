// A switch with its words.
import type { Signal } from '@preact/signals'
import { useId } from 'preact/hooks'
import { isPast } from '../live/moment'

type CheckProps = { on: Signal<boolean>; label: string; hint?: string; locked?: boolean }

export function Check({ on, label, hint, locked = false }: CheckProps) {
  const id = useId()
  return (
    <div class="check">
      <input
        id={id}
        type="checkbox"
        checked={on.value}
        disabled={isPast.value || locked}
        aria-describedby={hint === undefined ? undefined : `${id}-note`}
        onChange={(event) => (on.value = event.currentTarget.checked)}
      />
      <label for={id}>{label}</label>
      {hint !== undefined && <p id={`${id}-note`} class="note">{hint}</p>}
    </div>
  )
}
