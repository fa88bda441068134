// What a restore would do, tried by the server without doing it; then the restore itself, and how it goes on.
import { useSignal } from '@preact/signals'
import { useEffect, useId } from 'preact/hooks'
import { write } from '../../api/client'
import type { Part, Restored, RestoreWanted, TenantLine } from '../../api/types'
import { DialogEnd } from '../../kit/dialog'
import { Empty, Failed, Loading } from '../../kit/states'
import { complain } from '../../kit/toast'
import { Changes } from '../changes'
import { Conflicts, NotRestored } from './obstacles'
import { Progress } from './progress'

const PARTS: readonly [part: Part, title: string][] = [
  ['details', 'Details'], ['config', 'Configuration'], ['theme', 'Theme'], ['ports', 'Ports'], ['release', 'Release'],
]

type PreviewProps = { moment: number; tenant: TenantLine; onClose: () => void }

export function Preview({ moment, tenant, onClose }: PreviewProps) {
  const id = useId()
  const parts = useSignal<Part[]>(PARTS.map(([part]) => part))
  const reassigns = useSignal(false)
  const plan = useSignal<Restored | null>(null)
  const refusal = useSignal<unknown>(undefined)
  const typed = useSignal('')
  const stage = useSignal<'preview' | 'running' | 'done'>('preview')
  const path = `/api/tenants/${tenant.id}/restore`
  const body: RestoreWanted = { as_of: moment, include: parts.value, on_conflict: reassigns.value ? 'reassign' : 'fail' }
  const wish = JSON.stringify(body)
  useEffect(() => {
    if (stage.value !== 'preview') return
    let isLatest = true
    plan.value = null
    refusal.value = undefined
    if (parts.value.length === 0) return
    write<Restored>('POST', path, { ...body, dry_run: true } satisfies RestoreWanted).then(
      (answer) => isLatest && (plan.value = answer.body),
      (error: unknown) => isLatest && (refusal.value = error),
    )
    return () => void (isLatest = false)
  }, [wish])
  const found = plan.value
  const isHeld = found !== null && found.conflicts.length > 0 && !reassigns.value
  const mayAct = found !== null && !isHeld && typed.value === tenant.slug
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault()
    if (!mayAct) return
    stage.value = 'running'
    try {
      plan.value = (await write<Restored>('POST', path, body)).body
      stage.value = 'done'
    } catch (error) {
      stage.value = 'preview'
      complain(error)
    }
  }
  if (stage.value !== 'preview') return <Progress tenant={tenant} moment={moment} answer={stage.value === 'done' ? plan.value : null} onClose={onClose} />
  const toggle = (part: Part): void => {
    parts.value = parts.value.includes(part) ? parts.value.filter((one) => one !== part) : [...parts.value, part]
  }
  return (
    <form onSubmit={(event) => void submit(event)}>
      <div class="dialog-body">
        <p>As it was after event {moment}. Nothing is done yet.</p>
        <fieldset class="parts">
          <legend class="only-read">What is restored</legend>
          {PARTS.map(([part, title]) => (
            <label key={part}><input type="checkbox" checked={parts.value.includes(part)} onChange={() => toggle(part)} />{title}</label>
          ))}
        </fieldset>
        {parts.value.length === 0 && <Empty title="Nothing is chosen" />}
        {refusal.value !== undefined && <Failed error={refusal.value} />}
        {parts.value.length > 0 && refusal.value === undefined && !found && <Loading what="the preview" />}
        {found && (
          <>
            {found.changes.length === 0 ? <Empty title="It is as it was: nothing would change" /> : <Changes label="What would change" changes={found.changes} />}
            {found.conflicts.length > 0 && <Conflicts conflicts={found.conflicts} reassigns={reassigns.value} onReassign={(value) => (reassigns.value = value)} />}
            <NotRestored left={found.not_restored} />
            <div class="field">
              <label for={id}>Type <code>{tenant.slug}</code> to confirm</label>
              <input id={id} autoComplete="off" spellcheck={false} value={typed.value} onInput={(event) => (typed.value = event.currentTarget.value)} />
            </div>
          </>
        )}
      </div>
      <DialogEnd verb="Restore" tone="danger" disabled={!mayAct} onClose={onClose} />
    </form>
  )
}
