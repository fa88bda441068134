// A token, this once.
import { useSignal } from '@preact/signals'
import { useRef } from 'preact/hooks'
import type { CreatedToken } from '../../api/types'
import { Dialog } from '../../kit/dialog'

export function Once({ token, onClose }: { token: CreatedToken; onClose: () => void }) {
  const code = useRef<HTMLElement>(null)
  const note = useSignal('')
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(token.token)
      note.value = 'Copied.'
    } catch {
      // Pages without TLS have no clipboard; the keyboard has.
      const range = document.createRange()
      if (code.current) range.selectNodeContents(code.current)
      getSelection()?.removeAllRanges()
      getSelection()?.addRange(range)
      note.value = 'Selected: copy it with the keyboard.'
    }
  }
  return (
    <Dialog title={`Token ${token.name}`} onClose={onClose} wide>
      <div class="dialog-body">
        <p>This is shown now and never again.</p>
        <div class="once"><code ref={code}>{token.token}</code><button type="button" class="primary" onClick={() => void copy()}>Copy</button></div>
        <p class="quiet" role="status">{note.value}</p>
      </div>
      <footer><button type="button" onClick={onClose}>Done</button></footer>
    </Dialog>
  )
}
