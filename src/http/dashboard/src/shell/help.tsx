// What the keys do.
import { may } from '../api/may'
import { Dialog } from '../kit/dialog'
import { pages } from '../pages'
import { isHelpOpen } from './keyboard'

const KEYS: readonly [keys: string, what: string][] = [
  ['/', 'Search on this page'],
  ['?', 'This help'],
  ['↑ ↓', 'Move in a table; Page Up and Down, Home and End, too'],
  ['Enter', 'Open the row'],
  ['[ ]', 'The event before, and the next one'],
  ['{ }', 'The mark before, and the next one'],
  ['n', 'Back to now'],
  ['Esc', 'Close, or leave a field'],
]

export function Help() {
  if (!isHelpOpen.value) return null
  return (
    <Dialog title="Keyboard" onClose={() => (isHelpOpen.value = false)}>
      <dl class="keys dialog-body">
        {pages.filter(({ needs = 'viewer' }) => may(needs)).map(({ key, title }) => (
          <div key={key}><dt><kbd>g</kbd> <kbd>{key}</kbd></dt><dd>{title}</dd></div>
        ))}
        {KEYS.map(([keys, what]) => (
          <div key={keys}><dt>{keys.split(' ').map((key) => <kbd key={key}>{key}</kbd>)}</dt><dd>{what}</dd></div>
        ))}
      </dl>
    </Dialog>
  )
}
