// Taking a command back: first what that would do, then the doing.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { write } from '../../api/client'
import { messageOf } from '../../api/problem'
import type { DryRun, Event, HistoryEntry } from '../../api/types'
import { Confirm, Dialog } from '../../kit/dialog'
import { Loading } from '../../kit/states'
import { say } from '../../kit/toast'

type UndoProps = { entry: HistoryEntry; onClose: () => void }

export function Undo({ entry, onClose }: UndoProps) {
  const { seq, kind } = entry
  const preview = useSignal<readonly Event[] | undefined>(undefined)
  const refusal = useSignal('')
  useEffect(() => {
    write<DryRun>('POST', `/api/events/${seq}/undo?dry_run=true`).then(
      ({ body }) => (preview.value = body.events),
      (error: unknown) => (refusal.value = messageOf(error)),
    )
  }, [seq])
  const title = `Undo ${kind}`
  if (refusal.value !== '') {
    return (
      <Dialog title={title} onClose={onClose}>
        <div class="dialog-body"><p class="form-mistake" role="alert">{refusal.value}</p></div>
        <footer><button type="button" onClick={onClose}>Close</button></footer>
      </Dialog>
    )
  }
  if (preview.value === undefined) return <Dialog title={title} onClose={onClose}><Loading what="what that would do" /></Dialog>
  const act = async (): Promise<void> => {
    await write('POST', `/api/events/${seq}/undo`)
    say(`Event ${seq} was taken back.`)
  }
  return (
    <Confirm title={title} verb="Undo" act={act} onClose={onClose}>
      <p>The history stays as it is. This would be recorded:</p>
      <ul class="bullets">{preview.value.map((event, place) => <li key={place}><code>{event.kind}</code></li>)}</ul>
    </Confirm>
  )
}
