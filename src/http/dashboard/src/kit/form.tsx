// Forms: fields with the mistake beside them. A form checks what it can know itself; what the server
// refuses is shown at the field that it names.
import { type Signal, signal } from '@preact/signals'
import { useId, useMemo } from 'preact/hooks'
import { fieldOf, messageOf } from '../api/problem'
import { isPast } from '../live/moment'

export type Check = (value: string) => string | undefined
export type FieldState = { value: Signal<string>; mistake: Signal<string>; check: Check }

const FINE: Check = () => undefined

export class Form<Name extends string> {
  readonly fields: Record<Name, FieldState>
  readonly mistake = signal('')
  readonly isBusy = signal(false)

  constructor(spec: Record<Name, { value?: string; check?: Check }>) {
    const entries = Object.entries<{ value?: string; check?: Check }>(spec)
    this.fields = Object.fromEntries(
      entries.map(([name, { value = '', check = FINE }]) => [name, { value: signal(value), mistake: signal(''), check }]),
    ) as Record<Name, FieldState>
  }

  get names(): Name[] {
    return Object.keys(this.fields) as Name[]
  }

  text(name: Name): string {
    return this.fields[name].value.value.trim()
  }

  /** Checks every field; gives the first wrong one. */
  check(): Name | undefined {
    let first: Name | undefined
    for (const name of this.names) {
      const mistake = this.fields[name].check(this.text(name)) ?? ''
      this.fields[name].mistake.value = mistake
      if (mistake !== '') first ??= name
    }
    return first
  }

  /** Runs what the form is for, once at a time, and shows a refusal where it belongs. Tells whether it was done. */
  async submit(act: () => Promise<void>): Promise<boolean> {
    this.mistake.value = ''
    if (this.isBusy.value || this.check() !== undefined) return false
    this.isBusy.value = true
    try {
      await act()
      return true
    } catch (error) {
      const field = fieldOf(error, this.names) as Name | undefined
      const place = field === undefined ? this.mistake : this.fields[field].mistake
      place.value = messageOf(error)
      return false
    } finally {
      this.isBusy.value = false
    }
  }
}

export function useForm<Name extends string>(spec: Record<Name, { value?: string; check?: Check }>): Form<Name> {
  // A form is made once; its fields keep what was typed.
  return useMemo(() => new Form(spec), [])
}

type FieldProps = {
  field: FieldState
  label: string
  hint?: string
  type?: 'text' | 'password' | 'number' | 'email' | 'url'
  lines?: number
  autoComplete?: string
  focus?: boolean
  /** Shown, and not to be changed by who is here. */
  locked?: boolean
}

export function Field({ field, label, hint, type = 'text', lines, autoComplete = 'off', focus = false, locked = false }: FieldProps) {
  const id = useId()
  const mistake = field.mistake.value
  const shared = {
    id,
    value: field.value.value,
    disabled: isPast.value,
    readOnly: locked,
    autoComplete,
    autoFocus: focus,
    spellcheck: false,
    'aria-invalid': mistake !== '',
    'aria-describedby': `${id}-note`,
    onInput: (event: { currentTarget: { value: string } }): void => {
      field.value.value = event.currentTarget.value
      if (mistake !== '') field.mistake.value = field.check(field.value.value.trim()) ?? ''
    },
    onBlur: (): void => {
      const value = field.value.value.trim()
      if (value !== '') field.mistake.value = field.check(value) ?? ''
    },
  }
  return (
    <div class={mistake === '' ? 'field' : 'field wrong'}>
      <label for={id}>{label}</label>
      {lines === undefined ? <input type={type as 'text'} {...shared} /> : <textarea rows={lines} {...shared} />}
      <p id={`${id}-note`} class="note" aria-live="polite">{mistake || hint || ''}</p>
    </div>
  )
}

/** A refusal that names no field. */
export function FormMistake({ form }: { form: { mistake: Signal<string> } }) {
  return form.mistake.value === '' ? null : <p class="form-mistake" role="alert">{form.mistake.value}</p>
}

/** Focuses the first field that is marked as wrong. */
export function focusMistake(form: HTMLElement): void {
  requestAnimationFrame(() => form.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus())
}
