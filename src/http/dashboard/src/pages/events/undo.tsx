// Taking back the command behind an event: what that would record, or why it cannot be, and then the act.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { write } from '../../api/client'
import { messageOf } from '../../api/problem'
import type { DryRun, Event, Undone } from '../../api/types'
import { Confirm, Dialog } from '../../kit/dialog'
import { Loading } from '../../kit/states'
import { say } from '../../kit/toast'
import { go } from '../../shell/router'

export function UndoDialog({ event, onClose }: { event: Event; onClose: () => void }) {
  const tried = useSignal<DryRun | null>(null)
  const refusal = useSignal('')
  const path = `/api/events/${event.seq}/undo`
  useEffect(() => {
    write<DryRun>('POST', `${path}?dry_run=true`).then(
      ({ body }) => (tried.value = body),
      (error: unknown) => (refusal.value = messageOf(error)),
    )
  }, [path])
  const title = `Undo event ${event.seq}`
  if (refusal.value !== '') {
    return <Dialog title={title} onClose={onClose}><div class="dialog-body"><p role="alert">{refusal.value}</p></div></Dialog>
  }
  if (tried.value === null) return <Dialog title={title} onClose={onClose}><Loading what="what it would do" /></Dialog>
  const act = async (): Promise<void> => {
    const { body } = await write<Undone>('POST', path)
    say(`Event ${event.seq} was taken back`)
    go(`/events/${body.seq}`)
  }
  return (
    <Confirm title={title} verb="Undo" act={act} onClose={onClose}>
      <p>The command behind <code>{event.kind}</code> is taken back by a new one, which records:</p>
      <ul class="recorded">{tried.value.events.map(({ kind }, place) => <li key={place}><code>{kind}</code></li>)}</ul>
    </Confirm>
  )
}
