// What a deployment shall do, before it begins.
import { useSignal } from '@preact/signals'
import { write } from '../../api/client'
import type { DeploySwitches, Requested, Tenant } from '../../api/types'
import { Check } from '../../kit/check'
import { Dialog, DialogEnd } from '../../kit/dialog'
import { Field, FormMistake, focusMistake, useForm } from '../../kit/form'

type DeployProps = { tenant: Tenant; onClose: () => void; onBegun: (deployment: string) => void }

const ref = (value: string): string | undefined => (/\s/.test(value) ? 'A branch, tag or commit holds no white space.' : undefined)

export function Deploy({ tenant, onClose, onBegun }: DeployProps) {
  const form = useForm({ git_ref: { check: ref } })
  const ssl = useSignal(false)
  const nginx = useSignal(false)
  const services = useSignal(false)
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault()
    const element = event.currentTarget as HTMLFormElement
    let begun = ''
    const isDone = await form.submit(async () => {
      const switches: DeploySwitches = { skip_ssl: ssl.value, skip_nginx: nginx.value, skip_services: services.value }
      const at = form.text('git_ref')
      const body = at === '' ? switches : { ...switches, git_ref: at }
      begun = (await write<Requested>('POST', `/api/tenants/${tenant.id}/deploy`, body)).body.deployment_id
    })
    if (!isDone) return void focusMistake(element)
    onClose()
    onBegun(begun)
  }
  return (
    <Dialog title="Deploy" onClose={onClose}>
      <form onSubmit={(event) => void submit(event)} noValidate>
        <div class="dialog-body">
          <p class="quiet any-text">{tenant.github_repo ?? 'There is no repository: the files in its directory are deployed as they are.'}</p>
          <Field field={form.fields.git_ref} label="Branch, tag or commit (optional)" hint="The repository's own choice without it." focus />
          <div class="checks">
            <Check on={ssl} label="Skip the certificate" />
            <Check on={nginx} label="Skip nginx" />
            <Check on={services} label="Skip the services" hint="The new release is prepared and does not serve." />
          </div>
          <FormMistake form={form} />
        </div>
        <DialogEnd verb="Deploy" disabled={form.isBusy.value} onClose={onClose} />
      </form>
    </Dialog>
  )
}
