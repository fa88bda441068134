// The end of a tenant: asks for its name, and what shall go with it.
import { useSignal } from '@preact/signals'
import { write } from '../../api/client'
import type { Tenant } from '../../api/types'
import { Check } from '../../kit/check'
import { Confirm } from '../../kit/dialog'
import { say } from '../../kit/toast'
import { go } from '../../shell/router'

export function DeleteTenant({ tenant, onClose }: { tenant: Tenant; onClose: () => void }) {
  const files = useSignal(false)
  const nginx = useSignal(true)
  const services = useSignal(true)
  const erase = useSignal(false)
  const act = async (): Promise<void> => {
    const query = new URLSearchParams({
      remove_files: String(files.value),
      remove_nginx: String(nginx.value),
      remove_services: String(services.value),
      erase: String(erase.value),
    })
    await write('DELETE', `/api/tenants/${tenant.id}?${query}`)
    say(`${tenant.name} was deleted.`)
    go('/tenants')
  }
  return (
    <Confirm title="Delete tenant" name={tenant.slug} verb={erase.value ? 'Delete and erase' : 'Delete'} act={act} onClose={onClose}>
      <p><strong class="any-text">{tenant.name}</strong> stops being served, and its ports become free. Its history stays, and it can be restored.</p>
      <div class="checks">
        <Check on={services} label="Remove its services" />
        <Check on={nginx} label="Remove its nginx sites" />
        <Check on={files} label="Delete its directory" hint="With its database and backups. Nothing brings them back." />
        <Check on={erase} label="Erase for good" hint="Destroys its key: nobody can ever read again what is theirs, and it cannot be restored." />
      </div>
    </Confirm>
  )
}
