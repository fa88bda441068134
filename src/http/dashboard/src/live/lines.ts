// Lines of a tenant's process as they are printed, over server-sent events. A hidden tab lets go of the stream; whoever
// takes it up again gets the last lines anew.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { ask, authorized } from '../api/client'
import { ApiError } from '../api/problem'
import { lost, mended, pause, rest } from './link'
import { messages } from './sse'
import { isShown } from './visible'

export type Numbered = { number: number; text: string }
export type Lines = { lines: readonly Numbered[]; error: unknown; isOpen: boolean }

const MOST_LINES = 5000
/** Lines are taken together, so that a burst is one rendering. */
const TOGETHER_MS = 100
/** A comment comes every 15 s; two of them missing is a dead connection. */
const SILENCE_MS = 40_000

const mayPass = (error: unknown): boolean =>
  !(error instanceof ApiError) || error.status === 0 || error.status === 429 || error.status >= 500

/** Follows a stream of `{"type":"log","message":…}`; null follows nothing. */
export function useLines(path: string | null): Lines {
  const state = useSignal<Lines>({ lines: [], error: undefined, isOpen: false })
  useEffect(() => {
    state.value = { lines: [], error: undefined, isOpen: false }
    if (path === null) return
    const end = new AbortController()
    const stream = {}
    let number = 0
    let waiting: Numbered[] = []
    let isFresh = true
    const flush = (): void => {
      const more = waiting
      waiting = []
      if (end.signal.aborted) return
      const known = isFresh ? [] : state.value.lines
      isFresh = false
      state.value = { lines: [...known, ...more].slice(-MOST_LINES), error: undefined, isOpen: true }
    }
    const take = (text: string): void => {
      number += 1
      if (waiting.push({ number, text }) === 1) setTimeout(flush, TOGETHER_MS)
    }
    const once = async (works: () => void): Promise<void> => {
      const stop = new AbortController()
      let heard = Date.now()
      const silence = setInterval(() => Date.now() - heard > SILENCE_MS && stop.abort(), SILENCE_MS / 4)
      const hide = (): void => void (document.hidden && stop.abort())
      document.addEventListener('visibilitychange', hide)
      try {
        const signal = AbortSignal.any([end.signal, stop.signal])
        const response = await ask(path, { headers: authorized({ Accept: 'text/event-stream, application/problem+json' }), signal, cache: 'no-store' })
        // The last lines come again.
        waiting = []
        isFresh = true
        state.value = { ...state.value, error: undefined, isOpen: true }
        const alive = (): void => {
          heard = Date.now()
          mended(stream)
          works()
        }
        alive()
        for await (const { data } of messages(response, alive)) {
          const { message } = JSON.parse(data) as { message?: unknown }
          if (typeof message === 'string') take(message)
        }
      } finally {
        clearInterval(silence)
        document.removeEventListener('visibilitychange', hide)
      }
    }
    const run = async (): Promise<void> => {
      for (let attempt = 0; !end.signal.aborted; attempt += 1) {
        await isShown(end.signal)
        try {
          await once(() => (attempt = 0))
        } catch (error) {
          if (end.signal.aborted) return
          if (!mayPass(error)) {
            state.value = { ...state.value, error }
            return
          }
        }
        if (end.signal.aborted || document.hidden) continue
        lost(stream)
        await rest(pause(attempt), end.signal)
      }
    }
    void run().finally(() => mended(stream))
    return () => end.abort()
  }, [path])
  return state.value
}
