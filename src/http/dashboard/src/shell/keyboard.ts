// Keys that work on every page, unless somebody types into a field or a dialog is open.
import { signal } from '@preact/signals'
import { may } from '../api/may'
import { pages } from '../pages'
import { go } from './router'

export const isHelpOpen = signal(false)

/** How long after `g` the second key may come. */
const CHORD_MS = 1500
let chord = 0

export const typing = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))

export function onKey(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return
  if (event.key === 'Escape' && typing(event.target)) (event.target as HTMLElement).blur()
  if (typing(event.target) || document.querySelector('dialog[open]')) return
  const isSecond = event.timeStamp - chord < CHORD_MS && chord > 0
  chord = 0
  if (isSecond) {
    const page = pages.find(({ key, needs = 'viewer' }) => key === event.key && may(needs))
    if (page) go(`/${page.path}`)
  } else if (event.key === 'g') {
    chord = event.timeStamp
  } else if (event.key === '?') {
    isHelpOpen.value = true
  } else if (event.key === '/') {
    const search = document.querySelector<HTMLInputElement>('input[type=search]')
    search?.focus()
    search?.select()
  } else return
  event.preventDefault()
}
