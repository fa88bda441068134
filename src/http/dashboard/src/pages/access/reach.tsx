// The tenants that somebody reaches: all of them, or some.
import type { Signal } from '@preact/signals'
import type { TenantLine } from '../../api/types'

export function Reach({ reach, tenants }: { reach: Signal<string[] | null>; tenants: readonly TenantLine[] }) {
  const chosen = reach.value
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
        <div class="reach-list">
          {tenants.length === 0 && <p class="quiet">There are none.</p>}
          {tenants.map(({ id, name }) => (
            <label key={id}><input type="checkbox" checked={chosen.includes(id)} onChange={(event) => toggle(id, event.currentTarget.checked)} /> <span>{name}</span></label>
          ))}
        </div>
      )}
    </fieldset>
  )
}
