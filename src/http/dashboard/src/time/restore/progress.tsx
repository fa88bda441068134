// A restore while it goes on: what the journal says of the tenant, as it comes, and the end of it.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import type { Event, Restored, TenantLine } from '../../api/types'
import { Badge } from '../../kit/badge'
import { At } from '../../kit/time'
import { follow } from '../../live/feed'

const SHOWN = 200
const text = (value: unknown): string => (typeof value === 'string' ? value.replaceAll('_', ' ') : '')

const detail = ({ data }: Event): string => [text(data['step']), text(data['outcome'])].filter(Boolean).join(': ')

type ProgressProps = { tenant: TenantLine; moment: number; answer: Restored | null; onClose: () => void }

export function Progress({ tenant, moment, answer, onClose }: ProgressProps) {
  const events = useSignal<readonly Event[]>([])
  useEffect(() => follow((batch) => {
    const its = batch.filter((event) => event.tenant_id === tenant.id)
    if (its.length > 0) events.value = [...events.value, ...its].slice(-SHOWN)
  }), [tenant.id])
  const state = answer === null ? 'pending' : answer.complete ? 'success' : 'warning'
  const words = answer === null
    ? 'Files, site and processes are brought to match.'
    : answer.complete ? `${tenant.name} is as it was after event ${moment}.` : 'It is recorded; files, site or processes do not match yet.'
  return (
    <>
      <div class="dialog-body">
        <p role="status" class="progress-head"><Badge state={state} label={answer === null ? 'restoring' : answer.complete ? 'restored' : 'not complete'} /> {words}</p>
        <ol class="progress-events" aria-label="What happens" tabIndex={0}>
          {events.value.map((event) => (
            <li key={event.seq}><At at={event.at} short /><span class="kind">{event.kind}</span><span class="quiet">{detail(event)}</span></li>
          ))}
        </ol>
      </div>
      <footer><button type="button" class="primary" onClick={onClose}>{answer === null ? 'Close, it goes on' : 'Close'}</button></footer>
    </>
  )
}
