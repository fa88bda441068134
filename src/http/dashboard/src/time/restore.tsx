// Restoring a tenant to an earlier moment: which one, what that would change, and only then the act. It happens in the
// present, so the page returns there before anything is asked.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import type { TenantLine } from '../api/types'
import { Dialog } from '../kit/dialog'
import { Empty, Failed, Loading } from '../kit/states'
import { travel } from '../shell/router'
import { Preview } from './restore/preview'
import { useTenantsAt } from './then'

const SHOWN = 8

type ChooseProps = { moment: number; wanted: string | null; onChoose: (tenant: TenantLine) => void }

function Choose({ moment, wanted, onChoose }: ChooseProps) {
  const search = useSignal('')
  const { tenants, error } = useTenantsAt(moment, search.value)
  useEffect(() => {
    const here = tenants?.find(({ id }) => id === wanted)
    if (here) onChoose(here)
  }, [tenants])
  return (
    <div class="dialog-body">
      <p>Which tenant shall be as it was after event {moment}? You see what that changes before anything is done.</p>
      <input type="search" aria-label="Search tenants of then" placeholder="Name, slug or domain" value={search.value} onInput={(event) => (search.value = event.currentTarget.value)} />
      {error !== undefined && <Failed error={error} />}
      {error === undefined && !tenants && <Loading what="the tenants of then" />}
      {tenants?.length === 0 && <Empty title="No tenant was there then" />}
      <ul class="choices">
        {tenants?.slice(0, SHOWN).map((tenant) => (
          <li key={tenant.id}>
            <button type="button" onClick={() => onChoose(tenant)}><strong>{tenant.name}</strong><small class="quiet">{tenant.slug}</small></button>
          </li>
        ))}
      </ul>
      {tenants && tenants.length > SHOWN && <p class="quiet">and {tenants.length - SHOWN} more: search for one</p>}
    </div>
  )
}

type RestoreProps = { moment: number; tenant: string | null; onClose: () => void }

export function RestoreDialog({ moment, tenant, onClose }: RestoreProps) {
  const chosen = useSignal<TenantLine | null>(null)
  const choose = (one: TenantLine): void => {
    chosen.value = one
    travel(null)
  }
  const title = chosen.value === null ? 'Restore a tenant' : `Restore ${chosen.value.name}`
  return (
    <Dialog title={title} onClose={onClose} wide>
      {chosen.value === null
        ? <Choose moment={moment} wanted={tenant} onChoose={choose} />
        : <Preview moment={moment} tenant={chosen.value} onClose={onClose} />}
    </Dialog>
  )
}
