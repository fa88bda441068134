// What is measured and is no state: read now, and again when there is a new measurement, while somebody can see it.
import { useEffect, useState } from 'preact/hooks'
import { isShown } from './visible'

type Measured<T> = { data: T | undefined; error: unknown }

/** `key` says what is asked, null that nothing is; `next` how long after an answer there is another, in seconds. */
export function useMeasured<T>(key: string | null, read: (signal: AbortSignal) => Promise<T>, next: (found: T) => number): Measured<T> {
  const [state, setState] = useState<Measured<T>>({ data: undefined, error: undefined })
  useEffect(() => {
    if (key === null) return
    const stop = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    const look = async (): Promise<void> => {
      await isShown(stop.signal)
      if (stop.signal.aborted) return
      try {
        const data = await read(stop.signal)
        if (stop.signal.aborted) return
        setState({ data, error: undefined })
        timer = setTimeout(() => void look(), next(data) * 1000)
      } catch (error) {
        if (!stop.signal.aborted) setState(({ data }) => ({ data, error }))
      }
    }
    void look()
    return () => {
      stop.abort()
      clearTimeout(timer)
    }
  }, [key])
  return state
}
