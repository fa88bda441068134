// The colours of a theme, each as text and as a picker, with what they look like beside.
import { useEffect, useId } from 'preact/hooks'
import { write } from '../../api/client'
import { may } from '../../api/may'
import { COLOR_FIELDS, type ColorField, type Colors, type Tenant, type Theme } from '../../api/types'
import { SaveButton } from '../../kit/button'
import { type Check, Field, type FieldState, FormMistake, focusMistake, useForm } from '../../kit/form'
import { say } from '../../kit/toast'
import { isPast } from '../../live/moment'
import { rgb, sixDigits, warningsOf } from './contrast'
import { Preview } from './preview'

const LABELS: Record<ColorField, string> = {
  primary_color: 'Primary', secondary_color: 'Secondary', accent_color: 'Accent', text_color: 'Text', sidebar_color: 'Sidebar',
}
const color: Check = (value) => (rgb(value) === null ? 'As #rgb or #rrggbb.' : undefined)

type ColorFormProps = {
  tenant: Tenant
  base: Colors
  touched: { current: boolean }
  /** Colours that somebody wants to look at; each attempt is counted. */
  tried: { colors: Colors; count: number } | null
  logo: string | undefined
  onSaved: (saved: Theme) => void
}

export function ColorForm({ tenant, base, touched, tried, logo, onSaved }: ColorFormProps) {
  const locked = !may('operator')
  const form = useForm(Object.fromEntries(COLOR_FIELDS.map((field) => [field, { value: base[field], check: color }])) as Record<ColorField, { value: string; check: Check }>)
  const show = (colors: Colors): void => {
    for (const field of COLOR_FIELDS) form.fields[field].value.value = colors[field]
    form.check()
  }
  useEffect(() => void (tried && show(tried.colors)), [tried?.count])
  const colors = Object.fromEntries(COLOR_FIELDS.map((field) => [field, form.text(field)])) as Colors
  const changed = COLOR_FIELDS.filter((field) => colors[field] !== base[field])
  touched.current = changed.length > 0
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault()
    const element = event.currentTarget as HTMLFormElement
    let saved: Theme | undefined
    const isDone = await form.submit(async () => {
      const body = new FormData()
      for (const field of changed) body.set(field, colors[field])
      saved = (await write<Theme>('PUT', `/api/tenants/${tenant.id}/theme`, body)).body
    })
    if (!isDone || saved === undefined) return void focusMistake(element)
    say('The colours were saved and applied.')
    onSaved(saved)
  }
  return (
    <section class="panel" aria-labelledby="colors">
      <header><h2 id="colors">Colours</h2></header>
      <form class="colors" onSubmit={(event) => void submit(event)} noValidate>
        <div class="color-fields">
          {COLOR_FIELDS.map((field) => <ColorField key={field} field={form.fields[field]} label={LABELS[field]} locked={locked} />)}
        </div>
        <div class="color-look">
          <Preview colors={colors} name={tenant.name} logo={logo} label="The site in these colours" />
          <ul class="warnings" aria-label="Contrast" aria-live="polite">
            {warningsOf(colors).map((warning) => <li key={warning} class="word warn">{warning}</li>)}
          </ul>
        </div>
        {!locked && (
          <div class="whole">
            <FormMistake form={form} />
            <div class="row-buttons">
              <SaveButton isBusy={form.isBusy.value} disabled={changed.length === 0}>Save colours</SaveButton>
              <button type="button" disabled={changed.length === 0} onClick={() => show(base)}>Back to what is saved</button>
            </div>
          </div>
        )}
      </form>
    </section>
  )
}

function ColorField({ field, label, locked }: { field: FieldState; label: string; locked: boolean }) {
  const id = useId()
  return (
    <div class="color-field">
      <label class="only-read" for={id}>{label}, picked</label>
      <input id={id} type="color" value={sixDigits(field.value.value)} disabled={locked || isPast.value} onInput={(event) => { field.value.value = event.currentTarget.value; field.mistake.value = '' }} />
      <Field field={field} label={label} locked={locked} />
    </div>
  )
}
