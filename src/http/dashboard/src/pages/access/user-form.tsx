// A new user, or changes of one.
import { useSignal } from '@preact/signals'
import { write } from '../../api/client'
import type { Account, AccountChanges, NewAccount, Role, TenantLine } from '../../api/types'
import { Check } from '../../kit/check'
import { mail, needed } from '../../kit/checks'
import { Dialog, DialogEnd } from '../../kit/dialog'
import { Field, FormMistake, focusMistake, useForm } from '../../kit/form'
import { Select } from '../../kit/select'
import { say } from '../../kit/toast'
import { password, ROLES } from './rules'
import { Reach } from './reach'

type UserFormProps = { user?: Account; tenants: readonly TenantLine[]; onClose: () => void }

export function UserForm({ user, tenants, onClose }: UserFormProps) {
  const isNew = user === undefined
  const form = useForm({
    username: { value: user?.username ?? '', check: needed('A user name') },
    email: { value: user?.email ?? '', check: mail },
    // A password is set apart later.
    password: isNew ? { check: password } : {},
    role: { value: user?.role ?? 'viewer' },
    tenant_ids: {},
  })
  const { fields } = form
  const disabled = useSignal(user?.disabled ?? false)
  const reach = useSignal<string[] | null>(user?.tenant_ids ?? null)
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault()
    const element = event.currentTarget as HTMLFormElement
    const isDone = await form.submit(async () => {
      const shared = { email: form.text('email'), role: form.text('role') as Role, tenant_ids: reach.value }
      const username = form.text('username')
      // A password may begin or end with a space.
      if (isNew) await write('POST', '/api/users', { ...shared, username, password: fields.password.value.value } satisfies NewAccount)
      else await write('PUT', `/api/users/${user.id}`, { ...shared, disabled: disabled.value } satisfies AccountChanges)
      say(isNew ? `${username} was created.` : `${username} was changed.`)
    })
    if (isDone) onClose()
    else focusMistake(element)
  }
  return (
    <Dialog title={isNew ? 'Create user' : `Edit ${user.username}`} onClose={onClose}>
      <form onSubmit={(event) => void submit(event)} noValidate>
        <div class="dialog-body">
          {isNew && <Field field={fields.username} label="User name" focus />}
          <Field field={fields.email} label="Mail" type="email" focus={!isNew} />
          {isNew && <Field field={fields.password} label="Password" type="password" autoComplete="new-password" hint="At least 8 bytes." />}
          <Select field={fields.role} label="Role" options={ROLES} />
          <Reach reach={reach} tenants={tenants} />
          {!isNew && <Check on={disabled} label="May not log in" />}
          <FormMistake form={form} />
        </div>
        <DialogEnd verb={isNew ? 'Create' : 'Save'} disabled={form.isBusy.value} onClose={onClose} />
      </form>
    </Dialog>
  )
}
