// Settings of the control plane. Each is a form of its own, so that a mistake stands where it was made.
import { useRef } from 'preact/hooks'
import { write } from '../api/client'
import { may } from '../api/may'
import type { NewSetting, Setting, SettingList } from '../api/types'
import { SaveButton, WriteButton } from '../kit/button'
import { type Check, Field, focusMistake, useForm } from '../kit/form'
import { Failed, Loading } from '../kit/states'
import { Ago } from '../kit/time'
import { say } from '../kit/toast'
import { useLive } from '../live/use'
import { useEditable } from './tenant/editable'

const HIDDEN = '***hidden***'

export function Settings() {
  const { data, error } = useLive<SettingList>('/api/settings')
  return (
    <div class="page">
      <div class="page-head"><h1>Settings</h1><p class="quiet">They go over what the configuration file says, and hold at once.</p></div>
      {error !== undefined && <Failed error={error} />}
      {data === undefined && error === undefined && <Loading what="settings" />}
      {data && <ul class="panel settings" aria-label="Settings">{data.settings.map((setting) => <Line key={setting.key} setting={setting} />)}</ul>}
    </div>
  )
}

function Line({ setting }: { setting: Setting }) {
  const touched = useRef(false)
  const { base, version, settle } = useEditable(setting, touched)
  return <SettingForm key={version} setting={base} touched={touched} onSaved={(saved) => settle({ ...base, ...saved })} />
}

const number: Check = (value) => (/^\d+$/.test(value) ? undefined : 'A whole number.')
const some: Check = (value) => (value === '' ? 'A value is needed; Reset goes back to the file.' : undefined)

type FormProps = { setting: Setting; touched: { current: boolean }; onSaved: (saved: Setting) => void }

function SettingForm({ setting, touched, onSaved }: FormProps) {
  const { key, is_secret: isSecret, description, value_type: type, updated_at: updated } = setting
  const locked = !may('admin')
  const isKept = isSecret && setting.value === HIDDEN
  const before = isKept ? '' : (setting.value ?? '')
  // The server names the setting in what it refuses, and so does the form.
  const form = useForm({ [key]: { value: before, check: type === 'integer' ? number : some } })
  const field = form.fields[key]
  const isTouched = form.text(key) !== before
  touched.current = isTouched
  const put = async (value: string | null): Promise<void> => {
    const { body } = await write<Setting>('PUT', `/api/settings/${key}`, { value } satisfies NewSetting)
    say(value === null ? `${description}: as the file says.` : `${description}: saved.`)
    // The answer says when it was set back; the list says that nobody has set it.
    onSaved(value === null ? { ...body, updated_at: null } : body)
  }
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault()
    const element = event.currentTarget as HTMLFormElement
    if (!(await form.submit(() => put(form.text(key))))) focusMistake(element)
  }
  const hint = isKept ? 'Set, and not shown.' : setting.value === null ? 'Not set.' : updated === null ? 'As the file says.' : ''
  return (
    <li>
      <form class="setting" onSubmit={(event) => void submit(event)} noValidate aria-label={description}>
        <div class="setting-name">
          <strong>{description}</strong>
          <small><code>{key}</code>{updated !== null && <>, set <Ago at={updated} /></>}</small>
        </div>
        {field && <Field field={field} label={description} hint={form.mistake.value || hint} type={isSecret ? 'password' : 'text'} locked={locked} autoComplete={isSecret ? 'new-password' : 'off'} />}
        <div class="row-buttons">
          {isTouched && <SaveButton needs="admin" isBusy={form.isBusy.value}>Save</SaveButton>}
          {updated !== null && <WriteButton needs="admin" label={`Reset ${key}`} act={() => put(null)}>Reset</WriteButton>}
        </div>
      </form>
    </li>
  )
}
