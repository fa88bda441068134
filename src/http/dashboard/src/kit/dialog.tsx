// A dialog over the page. The browser's own `<dialog>` keeps the focus in it, ends it with Escape and gives the focus back.
import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'
import { complain } from './toast'

type DialogProps = { title: string; onClose: () => void; children: ComponentChildren; wide?: boolean }

export function Dialog({ title, onClose, children, wide = false }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => {
    const opened = document.activeElement
    element.current?.showModal()
    return () => opened instanceof HTMLElement && opened.focus()
  }, [])
  return (
    <dialog ref={element} class={wide ? 'wide' : ''} aria-labelledby={id} onClose={onClose}>
      <header>
        <h2 id={id}>{title}</h2>
        <button type="button" class="plain" aria-label="Close" onClick={() => element.current?.close()}>×</button>
      </header>
      {children}
    </dialog>
  )
}

type DialogEndProps = { verb: string; tone?: 'primary' | 'danger'; disabled: boolean; onClose: () => void }

/** Ends a form in a dialog: not at all, or with its act. */
export function DialogEnd({ verb, tone = 'primary', disabled, onClose }: DialogEndProps) {
  return (
    <footer>
      <button type="button" onClick={onClose}>Cancel</button>
      <button type="submit" class={tone} disabled={disabled}>{verb}</button>
    </footer>
  )
}

type ConfirmProps = {
  title: string
  /** What happens, in a sentence. */
  children: ComponentChildren
  /** For a destructive act: the name of the thing, to be typed. */
  name?: string
  verb: string
  act: () => Promise<unknown>
  onClose: () => void
}

/** Asks before an act, and runs it. */
export function Confirm({ title, children, name, verb, act, onClose }: ConfirmProps) {
  const typed = useSignal('')
  const isBusy = useSignal(false)
  const id = useId()
  const mayAct = (name === undefined || typed.value === name) && !isBusy.value
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault()
    if (!mayAct) return
    isBusy.value = true
    try {
      await act()
      onClose()
    } catch (error) {
      complain(error)
    } finally {
      isBusy.value = false
    }
  }
  return (
    <Dialog title={title} onClose={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        <div class="dialog-body">
          {children}
          {name !== undefined && (
            <div class="field">
              <label for={id}>Type <code>{name}</code> to confirm</label>
              <input id={id} autoComplete="off" spellcheck={false} value={typed.value} onInput={(event) => (typed.value = event.currentTarget.value)} />
            </div>
          )}
        </div>
        <DialogEnd verb={verb} tone={name === undefined ? 'primary' : 'danger'} disabled={!mayAct} onClose={onClose} />
      </form>
    </Dialog>
  )
}
