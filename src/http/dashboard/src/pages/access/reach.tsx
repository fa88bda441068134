// The tenants that somebody reaches: all of them, or some.
import { type Signal, useSignal } from '@preact/signals'
import type { TenantLine } from '../../api/types'
import { More, SearchTenants, offered } from './offered'

export function Reach({ reach, tenants }: { reach: Signal<string[] | null>; tenants: readonly TenantLine[] }) {
  const chosen = reach.value
  const search = useSignal('')
  const { shown, more } = offered(tenants, search.value, chosen ?? [])
  const toggle = (id: string, isOn: boolean): void => {
    const rest = (chosen ?? []).filter((known) => known !== id)
    reach.value = isOn ? [...rest, id] : rest
  }
  return (
    <fieldset class="reach">
      <legend>Tenants</legend>
      <label><input type="radio" name="reach" checked={chosen === null} onChange={() => (reach.value = null)} /> All, also those to come</label>
      <label><input type="radio" name="reach" checked={chosen !== null} onChange={() => (reach.value = [])} /> Only these</label>
      {chosen !== null && (
        <>
          <SearchTenants search={search} count={tenants.length} />
          <div class="reach-list">
            {tenants.length === 0 && <p class="quiet">There are none.</p>}
            {shown.map(({ id, name }) => (
              <label key={id}><input type="checkbox" checked={chosen.includes(id)} onChange={(event) => toggle(id, event.currentTarget.checked)} /> <span>{name}</span></label>
            ))}
            <More more={more} />
          </div>
        </>
      )}
    </fieldset>
  )
}
