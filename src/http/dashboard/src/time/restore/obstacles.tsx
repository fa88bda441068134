// What stands in the way of a restore, and what it cannot bring back.
import type { Conflict, NotRestored as Left } from '../../api/types'
import { useNames } from '../../live/names'

type ConflictsProps = { conflicts: readonly Conflict[]; reassigns: boolean; onReassign: (value: boolean) => void }

export function Conflicts({ conflicts, reassigns, onReassign }: ConflictsProps) {
  const names = useNames(conflicts.map(({ held_by: holder }) => holder))
  return (
    <section class="obstacles warn" aria-label="Conflicts">
      <h3>Somebody else has by now</h3>
      <ul>
        {conflicts.map(({ field, wanted, held_by: holder, resolution }) => (
          <li key={field}>
            {field.replaceAll('_', ' ')} <code>{wanted}</code>
            {holder !== null && <>, held by {names.get(holder) ?? holder}</>}
            {reassigns && resolution !== null && <>: takes <code>{resolution}</code> instead</>}
          </li>
        ))}
      </ul>
      <label><input type="checkbox" checked={reassigns} onChange={(event) => onReassign(event.currentTarget.checked)} />Take what is free instead</label>
    </section>
  )
}

export function NotRestored({ left }: { left: readonly Left[] }) {
  if (left.length === 0) return null
  return (
    <section class="obstacles" aria-label="Not restored">
      <h3>This does not come back</h3>
      <ul>{left.map(({ field, reason }) => <li key={field}><strong>{field.replaceAll('_', ' ')}</strong>: {reason}</li>)}</ul>
    </section>
  )
}
