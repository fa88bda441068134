// A list of changes: what a field was, and what it is.
import type { Change } from '../api/types'
import { grouped, shown } from './diff'

const Value = ({ value, tone }: { value: unknown; tone: string }) => <td class={value === null ? 'quiet' : tone}>{shown(value)}</td>

export function Changes({ label, changes }: { label: string; changes: readonly Change[] }) {
  return (
    <div class="changes" role="region" aria-label={label} tabIndex={0}>
      {grouped(changes).map((group) => (
        <table key={group.title}>
          <caption>{group.title} <span class="count">{group.changes.length}</span></caption>
          <thead><tr><th scope="col">Field</th><th scope="col">From</th><th scope="col">To</th></tr></thead>
          <tbody>
            {group.changes.map((change) => (
              <tr key={change.field}>
                <th scope="row">{change.field.replace(/^(config|theme|frontend|backend)\./, '').replaceAll('_', ' ')}</th>
                <Value value={change.from} tone="was" />
                <Value value={change.to} tone="is" />
              </tr>
            ))}
          </tbody>
        </table>
      ))}
    </div>
  )
}
