// A button that changes something: off while the past is shown, and while what it began runs. Not there at all for whoever
// may not do it.
import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { may } from '../api/may'
import type { Role } from '../api/types'
import { isPast } from '../live/moment'
import { complain } from './toast'

type WriteButtonProps = {
  children: ComponentChildren
  act: () => unknown
  tone?: 'primary' | 'danger' | 'plain' | ''
  disabled?: boolean
  label?: string
  /** Who may; operators when it is not said. */
  needs?: Role
}

export function WriteButton({ children, act, tone = '', disabled = false, label, needs = 'operator' }: WriteButtonProps) {
  const isBusy = useSignal(false)
  const run = async (): Promise<void> => {
    isBusy.value = true
    try {
      await act()
    } catch (error) {
      complain(error)
    } finally {
      isBusy.value = false
    }
  }
  if (!may(needs)) return null
  const title = isPast.value ? 'The past does not change' : undefined
  return (
    <button type="button" class={tone} aria-label={label} title={title} disabled={disabled || isPast.value || isBusy.value} onClick={() => void run()}>
      {children}
    </button>
  )
}

type SaveButtonProps = { children: ComponentChildren; isBusy: boolean; disabled?: boolean; needs?: Role }

/** Ends a form on a page. */
export function SaveButton({ children, isBusy, disabled = false, needs = 'operator' }: SaveButtonProps) {
  if (!may(needs)) return null
  return <button type="submit" class="primary" disabled={disabled || isBusy || isPast.value}>{children}</button>
}
