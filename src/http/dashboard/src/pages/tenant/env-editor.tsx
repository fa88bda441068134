// The editor of environment variables. A secret is never shown: an empty field keeps it.
import { type Signal, useSignal } from '@preact/signals'
import { useId } from 'preact/hooks'
import { isPast } from '../../live/moment'
import { type Row, merged, mistakeOf, parse } from './env'

type EditorProps = { rows: Signal<readonly Row[]>; locked: boolean }

const FRESH: Row = { name: '', value: '', isSecret: false, hides: '' }

export function EnvEditor({ rows, locked }: EditorProps) {
  const isPasting = useSignal(false)
  const off = locked || isPast.value
  const set = (place: number, changes: Partial<Row>): void => {
    rows.value = rows.value.map((row, at) => (at === place ? { ...row, ...changes } : row))
  }
  return (
    <div class="env">
      {rows.value.length === 0 && <p class="quiet">No variables of its own.</p>}
      <ul class="env-rows" aria-label="Environment variables">
        {rows.value.map((row, place) => (
          <EnvRow
            key={place}
            row={row}
            mistake={mistakeOf(row, rows.value)}
            off={off}
            onChange={(changes) => set(place, changes)}
            onRemove={() => (rows.value = rows.value.filter((_, at) => at !== place))}
          />
        ))}
      </ul>
      {!locked && (
        <div class="row-buttons">
          <button type="button" disabled={off} onClick={() => (rows.value = [...rows.value, FRESH])}>Add variable</button>
          <button type="button" disabled={off} aria-expanded={isPasting.value} onClick={() => (isPasting.value = !isPasting.value)}>Paste a .env file</button>
        </div>
      )}
      {isPasting.value && <Paste onTake={(variables) => { rows.value = merged(rows.value, variables); isPasting.value = false }} />}
    </div>
  )
}

type RowProps = { row: Row; mistake: string; off: boolean; onChange: (changes: Partial<Row>) => void; onRemove: () => void }

function EnvRow({ row, mistake, off, onChange, onRemove }: RowProps) {
  const id = useId()
  const named = row.name === '' ? 'new variable' : row.name
  const isWrong = mistake !== ''
  return (
    <li class={isWrong ? 'env-row wrong' : 'env-row'}>
      <input class="env-name" aria-label={`Name of ${named}`} aria-invalid={isWrong} aria-describedby={`${id}-note`} placeholder="NAME" spellcheck={false} autoComplete="off" value={row.name} disabled={off} onInput={(event) => onChange({ name: event.currentTarget.value.trim() })} />
      <input
        class="env-value"
        type={(row.isSecret ? 'password' : 'text') as 'text'}
        aria-label={`Value of ${named}`}
        placeholder={row.hides === '' ? '' : 'hidden, stays as it is'}
        spellcheck={false}
        autoComplete={row.isSecret ? 'new-password' : 'off'}
        value={row.value}
        disabled={off}
        onInput={(event) => onChange({ value: event.currentTarget.value })}
      />
      <label class="env-secret">
        <input type="checkbox" checked={row.isSecret} disabled={off} aria-label={`${named} is secret`} onChange={(event) => onChange({ isSecret: event.currentTarget.checked })} /> secret
      </label>
      <button type="button" class="plain icon" aria-label={`Remove ${named}`} disabled={off} onClick={onRemove}>×</button>
      <p id={`${id}-note`} class="note" aria-live="polite">{mistake}</p>
    </li>
  )
}

function Paste({ onTake }: { onTake: (variables: [string, string][]) => void }) {
  const id = useId()
  const text = useSignal('')
  const { variables, mistakes } = parse(text.value)
  return (
    <div class={mistakes.length > 0 ? 'field wrong' : 'field'}>
      <label for={id}>Lines of NAME=value</label>
      <textarea id={id} rows={6} spellcheck={false} aria-describedby={`${id}-note`} aria-invalid={mistakes.length > 0} value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />
      <ul id={`${id}-note`} class="note" aria-live="polite">
        {mistakes.map(({ line, message }) => <li key={line}>Line {line}: {message}</li>)}
        {mistakes.length === 0 && <li>{variables.length} variables</li>}
      </ul>
      <div class="row-buttons"><button type="button" disabled={variables.length === 0 || mistakes.length > 0} onClick={() => onTake(variables)}>Take them over</button></div>
    </div>
  )
}
