// A choice among a few, in a form.
import { useId } from 'preact/hooks'
import { isPast } from '../live/moment'
import type { FieldState } from './form'

type SelectProps = { field: FieldState; label: string; hint?: string; options: readonly (readonly [value: string, label: string])[] }

export function Select({ field, label, hint, options }: SelectProps) {
  const id = useId()
  const mistake = field.mistake.value
  return (
    <div class={mistake === '' ? 'field' : 'field wrong'}>
      <label for={id}>{label}</label>
      <select
        id={id}
        value={field.value.value}
        disabled={isPast.value}
        aria-invalid={mistake !== ''}
        aria-describedby={`${id}-note`}
        onChange={(event) => {
          field.value.value = event.currentTarget.value
          field.mistake.value = ''
        }}
      >
        {options.map(([value, text]) => <option key={value} value={value}>{text}</option>)}
      </select>
      <p id={`${id}-note`} class="note" aria-live="polite">{mistake || hint || ''}</p>
    </div>
  )
}
