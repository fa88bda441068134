// An instance's share of its service's traffic.
import { useSignal } from '@preact/signals'
import { write } from '../../api/client'
import type { NewWeight } from '../../api/types'
import { WriteButton } from '../../kit/button'
import { say } from '../../kit/toast'
import { isPast } from '../../live/moment'

const MOST = 100
const isWhole = (text: string): boolean => /^\d{1,3}$/.test(text) && Number(text) <= MOST

export function Weight({ service, id, weight }: { service: string; id: string; weight: number }) {
  const text = useSignal(String(weight))
  const isWrong = !isWhole(text.value)
  const set = async (): Promise<void> => {
    await write('PUT', `/api/instances/${encodeURIComponent(service)}/${encodeURIComponent(id)}/weight`, { weight: Number(text.value) } satisfies NewWeight)
    say(`${service}:${id} has weight ${text.value}`)
  }
  return (
    <span class="weight">
      <input
        inputMode="numeric"
        aria-label="Weight, 0 to 100"
        aria-invalid={isWrong}
        disabled={isPast.value}
        value={text.value}
        onInput={(event) => (text.value = event.currentTarget.value.trim())}
      />
      <WriteButton act={set} disabled={isWrong || text.value === String(weight)}>Set</WriteButton>
      {isWrong && <span class="mistake" role="alert">A number from 0 to 100</span>}
    </span>
  )
}
