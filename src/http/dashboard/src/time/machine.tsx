// The time machine: the strip at the foot of every page, and the dialogs that it opens.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { typing } from '../shell/keyboard'
import { Compare } from './compare'
import { useJournal, useStanding } from './journal'
import { opened } from './points'
import { RestoreDialog } from './restore'
import { Strip } from './strip'
import { backToNow, moveBy, moveToMark } from './travel'

const FOLDED = 'tenantry.time-folded'
/** As in the style sheets. */
const NARROW = '(max-width: 720px)'

/** As it was left; on a narrow screen it takes much of the page, so it waits there. */
function isFoldedAtFirst(): boolean {
  const left = localStorage.getItem(FOLDED)
  return left === null ? matchMedia(NARROW).matches : left === 'yes'
}

const KEYS: Record<string, () => void> = {
  '[': () => moveBy(-1), ']': () => moveBy(1), '{': () => moveToMark(-1), '}': () => moveToMark(1), n: backToNow,
}

function onKey(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.defaultPrevented || document.querySelector('dialog[open]')) return
  // The slider is a field, too, and one does not type into it.
  const isSlider = event.target instanceof HTMLInputElement && event.target.type === 'range'
  if (typing(event.target) && !isSlider) return
  const act = KEYS[event.key]
  if (!act) return
  event.preventDefault()
  act()
}

export function TimeMachine() {
  useJournal()
  useStanding()
  const isFolded = useSignal(isFoldedAtFirst())
  useEffect(() => {
    addEventListener('keydown', onKey)
    return () => removeEventListener('keydown', onKey)
  }, [])
  const fold = (): void => {
    isFolded.value = !isFolded.value
    localStorage.setItem(FOLDED, isFolded.value ? 'yes' : 'no')
  }
  const dialog = opened.value
  return (
    <>
      <Strip isFolded={isFolded.value} onFold={fold} />
      {dialog?.what === 'compare' && <Compare onClose={() => (opened.value = null)} />}
      {dialog?.what === 'restore' && <RestoreDialog moment={dialog.moment} tenant={dialog.tenant} onClose={() => (opened.value = null)} />}
    </>
  )
}
