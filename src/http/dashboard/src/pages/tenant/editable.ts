// A form over something that others may change meanwhile. What somebody typed is never replaced under their hands: until
// they save or take the newer state, the form goes on from the one that it began with.
import { useRef, useState } from 'preact/hooks'

export type Editable<T> = {
  base: T
  /** Grows with the base: the key of the form. */
  version: number
  isStale: boolean
  /** Goes on from the newest state. */
  take: () => void
  /** Goes on from what was saved, before it comes back by itself. */
  settle: (saved: T) => void
}

/** `isTouched` tells whether somebody has typed into the form of the base. */
export function useEditable<T>(data: T, isTouched: { current: boolean }): Editable<T> {
  const text = JSON.stringify(data)
  const held = useRef({ base: data, text, version: 0, past: '' })
  const [, draw] = useState(0)
  const hold = (base: T, past: string): void => {
    isTouched.current = false
    held.current = { base, text: JSON.stringify(base), version: held.current.version + 1, past }
  }
  // What stood there when the form was saved is no news.
  const isOther = text !== held.current.text && text !== held.current.past
  if (!isOther && text === held.current.text) held.current.past = ''
  if (isOther && !isTouched.current) hold(data, '')
  const { base, version } = held.current
  return {
    base,
    version,
    isStale: isOther && isTouched.current,
    take: () => {
      hold(data, '')
      draw((count) => count + 1)
    },
    settle: (saved) => {
      hold(saved, text)
      draw((count) => count + 1)
    },
  }
}
