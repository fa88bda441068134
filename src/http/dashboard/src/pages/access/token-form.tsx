// A new token.
import { useSignal } from '@preact/signals'
import { write } from '../../api/client'
import type { CreatedToken, NewToken, Role, TenantLine } from '../../api/types'
import { needed, optional, whole } from '../../kit/checks'
import { Dialog, DialogEnd } from '../../kit/dialog'
import { Field, FormMistake, focusMistake, useForm } from '../../kit/form'
import { Select } from '../../kit/select'
import { More, SearchTenants, offered } from './offered'
import { ROLES } from './rules'

type TokenFormProps = { tenants: readonly TenantLine[]; onClose: () => void; onCreated: (token: CreatedToken) => void }

/** A century; the server has the last word. */
const LONGEST_DAYS = 36_500

export function TokenForm({ tenants, onClose, onCreated }: TokenFormProps) {
  const form = useForm({
    name: { check: needed('A name') },
    role: { value: 'viewer' },
    expires_in_days: { value: '90', check: optional(whole(1, LONGEST_DAYS)) },
    tenant_id: {},
    service: {},
  })
  const { fields } = form
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault()
    const element = event.currentTarget as HTMLFormElement
    let created: CreatedToken | undefined
    const isDone = await form.submit(async () => {
      const body: NewToken = { name: form.text('name'), role: form.text('role') as Role }
      if (form.text('expires_in_days') !== '') body.expires_in_days = Number(form.text('expires_in_days'))
      for (const key of ['tenant_id', 'service'] as const) if (form.text(key) !== '') body[key] = form.text(key)
      created = (await write<CreatedToken>('POST', '/api/tokens', body)).body
    })
    if (!isDone || created === undefined) return void focusMistake(element)
    onClose()
    onCreated(created)
  }
  const search = useSignal('')
  const { shown, more } = offered(tenants, search.value, [form.text('tenant_id')])
  const some = shown.map((tenant): [string, string] => [tenant.id, tenant.name])
  return (
    <Dialog title="Create token" onClose={onClose}>
      <form onSubmit={(event) => void submit(event)} noValidate>
        <div class="dialog-body">
          <Field field={fields.name} label="Name" hint="What it is for." focus />
          <Select field={fields.role} label="Role" options={ROLES} />
          <Field field={fields.expires_in_days} label="Days until it ends (optional)" hint="Without it, never." />
          <SearchTenants search={search} count={tenants.length} />
          <Select field={fields.tenant_id} label="Tenant" options={[['', 'All'], ...some]} />
          <More more={more} />
          <Field field={fields.service} label="Service (optional)" hint="Limits it to the instances of one service." />
          <FormMistake form={form} />
        </div>
        <DialogEnd verb="Create" disabled={form.isBusy.value} onClose={onClose} />
      </form>
    </Dialog>
  )
}
