// Short notices of what was done or went wrong. Errors stay until they are dismissed.
import { signal } from '@preact/signals'
import { messageOf } from '../api/problem'

type Notice = { id: number; tone: 'good' | 'bad'; text: string }

const MOST = 4
const SHOWN_MS = 5000
const notices = signal<readonly Notice[]>([])
let next = 1

function add(tone: Notice['tone'], text: string): number {
  const id = (next += 1)
  notices.value = [...notices.value, { id, tone, text }].slice(-MOST)
  return id
}

const drop = (id: number): void => void (notices.value = notices.value.filter((notice) => notice.id !== id))

export function say(text: string): void {
  const id = add('good', text)
  setTimeout(() => drop(id), SHOWN_MS)
}

export function complain(error: unknown): void {
  add('bad', messageOf(error))
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {notices.value.map(({ id, tone, text }) => (
        <div key={id} class={`toast ${tone}`}>
          <p>{text}</p>
          <button type="button" class="plain" aria-label="Dismiss" onClick={() => drop(id)}>×</button>
        </div>
      ))}
    </div>
  )
}
