// A tenant's details. Only what was changed is sent.
import { write } from '../../api/client'
import type { Tenant, TenantChanges } from '../../api/types'
import { host, needed, optional } from '../../kit/checks'
import { Dialog, DialogEnd } from '../../kit/dialog'
import { Field, FormMistake, focusMistake, useForm } from '../../kit/form'
import { say } from '../../kit/toast'

const CLEARABLE = ['api_domain', 'github_repo', 'notes'] as const
const LASTING = ['name', 'domain'] as const

export function Edit({ tenant, onClose }: { tenant: Tenant; onClose: () => void }) {
  const form = useForm({
    name: { value: tenant.name, check: needed('A name') },
    domain: { value: tenant.domain, check: host },
    api_domain: { value: tenant.api_domain ?? '', check: optional(host) },
    github_repo: { value: tenant.github_repo ?? '' },
    notes: { value: tenant.notes ?? '' },
  })
  const { fields } = form
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault()
    const element = event.currentTarget as HTMLFormElement
    const isDone = await form.submit(async () => {
      const changes: TenantChanges = {}
      for (const key of LASTING) if (form.text(key) !== tenant[key]) changes[key] = form.text(key)
      for (const key of CLEARABLE) if (form.text(key) !== (tenant[key] ?? '')) changes[key] = form.text(key) || null
      if (Object.keys(changes).length === 0) return
      await write('PUT', `/api/tenants/${tenant.id}`, changes)
      say('The details were changed.')
    })
    if (isDone) onClose()
    else focusMistake(element)
  }
  return (
    <Dialog title="Edit details" onClose={onClose} wide>
      <form onSubmit={(event) => void submit(event)} noValidate>
        <div class="dialog-body columns">
          <div class="whole"><Field field={fields.name} label="Name" focus /></div>
          <Field field={fields.domain} label="Domain" hint="Its sites are written anew at once." />
          <Field field={fields.api_domain} label="API domain (optional)" />
          <div class="whole"><Field field={fields.github_repo} label="Repository (optional)" hint="Holds from the next deployment on." /></div>
          <div class="whole"><Field field={fields.notes} label="Notes (optional)" lines={4} /></div>
          <div class="whole"><FormMistake form={form} /></div>
        </div>
        <DialogEnd verb="Save" disabled={form.isBusy.value} onClose={onClose} />
      </form>
    </Dialog>
  )
}
