// A button that changes something: off while the past is shown, and while what it began runs.
import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { isPast } from '../live/moment'
import { complain } from './toast'

type WriteButtonProps = { children: ComponentChildren; act: () => unknown; tone?: 'primary' | 'danger' | ''; disabled?: boolean; label?: string }

export function WriteButton({ children, act, tone = '', disabled = false, label }: WriteButtonProps) {
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
  const title = isPast.value ? 'The past does not change' : undefined
  return (
    <button type="button" class={tone} aria-label={label} title={title} disabled={disabled || isPast.value || isBusy.value} onClick={() => void run()}>
      {children}
    </button>
  )
}
