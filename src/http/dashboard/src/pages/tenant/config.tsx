// A tenant's configuration: what its application finds in its environment.
import { useSignal } from '@preact/signals'
import { useMemo, useRef } from 'preact/hooks'
import { write } from '../../api/client'
import { may } from '../../api/may'
import { CONFIG_FIELDS, type ConfigField, type RegeneratedEnv, type TenantConfig, type TenantConfigChanges } from '../../api/types'
import { SaveButton, WriteButton } from '../../kit/button'
import { address, mail, optional } from '../../kit/checks'
import { type Check, Field, FormMistake, focusMistake, useForm } from '../../kit/form'
import { Failed, Loading } from '../../kit/states'
import { say } from '../../kit/toast'
import { useLive } from '../../live/use'
import { useEditable } from './editable'
import { isSame, mistakeOf, rowsOf, sentOf } from './env'
import { EnvEditor } from './env-editor'

const model: Check = (value) => (/^[A-Za-z0-9][A-Za-z0-9._:/-]*$/.test(value) ? undefined : 'A model as Ollama writes it, such as gemma3:12b.')
const http = optional(address('http', 'https'))

const LABELS: Record<ConfigField, { label: string; check?: Check }> = {
  app_name: { label: 'Name of the application' },
  app_name_short: { label: 'Short name' },
  project_name: { label: 'Project' },
  admin_email: { label: 'Mail of its administrator', check: optional(mail) },
  frontend_url: { label: 'Frontend address', check: http },
  backend_api_url: { label: 'Backend API address', check: http },
  ws_base_url: { label: 'WebSocket address', check: optional(address('ws', 'wss')) },
  ollama_embed_model: { label: 'Ollama model for embeddings', check: optional(model) },
  ollama_llm_model: { label: 'Ollama language model', check: optional(model) },
  ollama_base_url: { label: 'Ollama address', check: http },
}

export function Config({ id }: { id: string }) {
  const { data, error } = useLive<TenantConfig>(`/api/tenants/${id}/config`)
  if (error !== undefined) return <Failed error={error} />
  if (data === undefined) return <Loading what="the configuration" />
  return <Editor id={id} data={data} />
}

function Editor({ id, data }: { id: string; data: TenantConfig }) {
  const touched = useRef(false)
  const { base, version, isStale, take, settle } = useEditable(data, touched)
  return (
    <>
      {isStale && (
        <p class="banner busy" role="status">Somebody changed the configuration meanwhile. <button type="button" onClick={take}>Take theirs and lose mine</button></p>
      )}
      <ConfigForm key={version} id={id} base={base} touched={touched} onSaved={settle} />
    </>
  )
}

type FormProps = { id: string; base: TenantConfig; touched: { current: boolean }; onSaved: (saved: TenantConfig) => void }

function ConfigForm({ id, base, touched, onSaved }: FormProps) {
  const locked = !may('operator')
  const form = useForm(
    Object.fromEntries(CONFIG_FIELDS.map((name) => [name, { value: base[name], check: LABELS[name].check ?? (() => undefined) }])) as Record<ConfigField, { value: string; check: Check }>,
  )
  const before = useMemo(() => rowsOf(base.custom_env, base.secret_env), [])
  const rows = useSignal<readonly (typeof before)[number][]>(before)
  const changed = CONFIG_FIELDS.filter((name) => form.text(name) !== base[name])
  const isEnvChanged = !isSame(rows.value, before)
  const isTouched = changed.length > 0 || isEnvChanged
  touched.current = isTouched
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault()
    const element = event.currentTarget as HTMLFormElement
    let saved: TenantConfig | undefined
    const isEnvWrong = rows.value.some((row) => mistakeOf(row, rows.value) !== '')
    const isDone = !isEnvWrong && (await form.submit(async () => {
      // An empty field follows from the tenant again.
      const changes: TenantConfigChanges = Object.fromEntries(changed.map((name) => [name, form.text(name) || null]))
      if (isEnvChanged) Object.assign(changes, sentOf(rows.value))
      saved = (await write<TenantConfig>('PUT', `/api/tenants/${id}/config`, changes)).body
    }))
    if (!isDone || saved === undefined) return void focusMistake(element)
    say('The configuration was saved.')
    onSaved(saved)
  }
  const regenerate = async (): Promise<void> => {
    const { body } = await write<RegeneratedEnv>('POST', `/api/tenants/${id}/config/regenerate-env`)
    say(`Written to ${body.path}.${body.backup === null ? '' : ` The one before is ${body.backup}.`}`)
  }
  return (
    <form class="panels" onSubmit={(event) => void submit(event)} noValidate>
      <section class="panel" aria-labelledby="config-fields">
        <header><h2 id="config-fields">Fields</h2><span class="quiet">an empty one follows from the tenant</span></header>
        <div class="form-grid">
          {CONFIG_FIELDS.map((name) => <Field key={name} field={form.fields[name]} label={LABELS[name].label} hint={name.toUpperCase()} locked={locked} />)}
        </div>
      </section>
      <div class="stack">
        <section class="panel" aria-labelledby="config-env">
          <header><h2 id="config-env">Environment</h2></header>
          <div class="panel-body"><EnvEditor rows={rows} locked={locked} /></div>
        </section>
        {!locked && (
          <section class="panel save" aria-label="Save">
            <FormMistake form={form} />
            <p class="quiet">{isTouched ? 'Not saved yet. Processes see it when they are started anew.' : 'Nothing to save.'}</p>
            <div class="row-buttons">
              <SaveButton isBusy={form.isBusy.value} disabled={!isTouched}>Save</SaveButton>
              <WriteButton act={regenerate} disabled={isTouched}>Write .env again</WriteButton>
            </div>
          </section>
        )}
      </div>
    </form>
  )
}
