// A new password. One's own wants the present one, and ends one's own logins.
import { write } from '../../api/client'
import { session } from '../../api/session'
import type { Account, NewPassword } from '../../api/types'
import { needed } from '../../kit/checks'
import { Dialog, DialogEnd } from '../../kit/dialog'
import { Field, FormMistake, focusMistake, useForm } from '../../kit/form'
import { say } from '../../kit/toast'
import { password } from './rules'

export function PasswordForm({ user, onClose }: { user: Account; onClose: () => void }) {
  const isOwn = user.id === session.value?.user.id
  const form = useForm({ current_password: isOwn ? { check: needed('The present password') } : {}, password: { check: password } })
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault()
    const element = event.currentTarget as HTMLFormElement
    const isDone = await form.submit(async () => {
      const now = form.fields.current_password.value.value
      const body: NewPassword = { password: form.fields.password.value.value, ...(isOwn ? { current_password: now } : {}) }
      await write('PUT', `/api/users/${user.id}/password`, body)
      say(`The password of ${user.username} was changed.`)
    })
    if (isDone) onClose()
    else focusMistake(element)
  }
  return (
    <Dialog title={`Password of ${user.username}`} onClose={onClose}>
      <form onSubmit={(event) => void submit(event)} noValidate>
        <div class="dialog-body">
          <p class="quiet">All their logins end{isOwn ? ', this one too' : ''}.</p>
          {isOwn && <Field field={form.fields.current_password} label="Present password" type="password" autoComplete="current-password" focus />}
          <Field field={form.fields.password} label="New password" type="password" autoComplete="new-password" hint="At least 8 bytes." focus={!isOwn} />
          <FormMistake form={form} />
        </div>
        <DialogEnd verb="Change" disabled={form.isBusy.value} onClose={onClose} />
      </form>
    </Dialog>
  )
}
