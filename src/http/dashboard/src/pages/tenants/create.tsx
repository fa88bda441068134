// A new tenant. What the form can know is said at once; what only the server knows, at the field that it names.
import { useRef } from 'preact/hooks'
import { write } from '../../api/client'
import type { NewTenant, Tenant } from '../../api/types'
import { Dialog, DialogEnd } from '../../kit/dialog'
import { type Check, Field, FormMistake, focusMistake, useForm } from '../../kit/form'
import { say } from '../../kit/toast'

const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
const HOST = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+$/

const name: Check = (value) => (value === '' ? 'A name is needed.' : undefined)
const slug: Check = (value) => (LABEL.test(value) ? undefined : 'Up to 63 of a-z, 0-9 and -, not at its ends.')
const domain: Check = (value) => (HOST.test(value) ? undefined : 'A lower-case host name, such as app.example.com.')
const optional = (check: Check): Check => (value) => (value === '' ? undefined : check(value))
const port: Check = (value) => {
  const number = Number(value)
  return Number.isInteger(number) && number >= 1024 && number <= 65_535 ? undefined : 'A port from 1024 to 65535.'
}

/** A slug made of a name: `Ed Gallrein for State` becomes `ed-gallrein-for-state`. */
export function slugOf(text: string): string {
  const plain = text.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase()
  return plain.replace(/[^a-z0-9]+/g, '-').slice(0, 63).replace(/^-+|-+$/g, '')
}

export function CreateTenant({ onClose }: { onClose: () => void }) {
  const form = useForm({
    name: { check: name },
    slug: { check: slug },
    domain: { check: domain },
    api_domain: { check: optional(domain) },
    github_repo: {},
    frontend_port: { check: optional(port) },
    backend_port: { check: optional(port) },
    notes: {},
  })
  const { fields } = form
  // The slug follows the name until somebody types another.
  const suggested = useRef('')
  const suggest = (): void => {
    if (fields.slug.value.value !== suggested.current) return
    suggested.current = slugOf(form.text('name'))
    fields.slug.value.value = suggested.current
  }
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault()
    const element = event.currentTarget as HTMLFormElement
    const isDone = await form.submit(async () => {
      const body: NewTenant = { name: form.text('name'), slug: form.text('slug'), domain: form.text('domain') }
      for (const key of ['api_domain', 'github_repo', 'notes'] as const) if (form.text(key) !== '') body[key] = form.text(key)
      for (const key of ['frontend_port', 'backend_port'] as const) if (form.text(key) !== '') body[key] = Number(form.text(key))
      const { body: tenant } = await write<Tenant>('POST', '/api/tenants', body)
      say(`${tenant.name} was created.`)
    })
    if (isDone) onClose()
    else focusMistake(element)
  }
  return (
    <Dialog title="Create tenant" onClose={onClose} wide>
      <form onSubmit={(event) => void submit(event)} noValidate>
        <div class="dialog-body columns">
          <div class="whole" onInput={suggest}><Field field={fields.name} label="Name" focus /></div>
          <Field field={fields.slug} label="Slug" hint="Names its directory and processes; stays for ever." />
          <Field field={fields.domain} label="Domain" hint="Where its frontend is reached." />
          <Field field={fields.api_domain} label="API domain (optional)" hint="Where its backend is reached." />
          <Field field={fields.github_repo} label="Repository (optional)" hint="https, ssh or file address of the application." />
          <Field field={fields.frontend_port} label="Frontend port (optional)" hint="The next free pair without it." />
          <Field field={fields.backend_port} label="Backend port (optional)" />
          <div class="whole"><Field field={fields.notes} label="Notes (optional)" lines={2} /></div>
          <div class="whole"><FormMistake form={form} /></div>
        </div>
        <DialogEnd verb="Create" disabled={form.isBusy.value} onClose={onClose} />
      </form>
    </Dialog>
  )
}
