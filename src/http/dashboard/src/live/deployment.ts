// A deployment over its WebSocket: how far it is and what its steps print. Whoever comes late, or again after a loss, gets
// every line from the first on.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { session } from '../api/session'
import type { DeploymentMessage as Message, SocketAuth } from '../api/types'
import { lost, mended, pause, rest } from './link'
import { isPast } from './moment'
import { shut } from './socket'

export type Progress = { percent: number; status: string; lines: readonly string[]; seconds: number | null }

/** What a page keeps of a log; a log that is longer stands whole in the API. */
export const MOST_LINES = 5000
/** Messages are taken together, so that a burst is one rendering. */
const TOGETHER_MS = 100
const DONE = 1000
const UNAUTHORIZED = 4401

export const NOTHING: Progress = { percent: 0, status: '', lines: [], seconds: null }

/** What is known after some more messages. Progress only grows. */
export function after(known: Progress, messages: readonly Message[]): Progress {
  const next = { ...known }
  const lines: string[] = []
  for (const message of messages) {
    if (message.type === 'log') lines.push(message.message)
    if (message.type === 'progress') {
      next.percent = Math.max(next.percent, message.progress_percent)
      next.status = message.status
    }
    if (message.type === 'complete') {
      next.status = message.status
      next.seconds = message.duration_seconds
    }
  }
  if (lines.length > 0) next.lines = [...known.lines, ...lines].slice(-MOST_LINES)
  return next
}

function connect(id: string, token: string, signal: AbortSignal, take: (message: Message) => void): Promise<number> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws/deployments/${id}`)
    const close = (): void => shut(socket)
    signal.addEventListener('abort', close)
    socket.addEventListener('open', () => socket.send(JSON.stringify({ type: 'auth', token } satisfies SocketAuth)))
    socket.addEventListener('message', ({ data }: MessageEvent<string>) => take(JSON.parse(data) as Message))
    socket.addEventListener('close', ({ code }) => {
      signal.removeEventListener('abort', close)
      resolve(code)
    })
  })
}

/** Follows a deployment to its end. `attempt` grows when it is taken up again. The past has no log. */
export function useProgress(id: string, attempt: number): Progress {
  const progress = useSignal(NOTHING)
  const token = session.value?.token
  const hasPast = isPast.value
  useEffect(() => {
    progress.value = NOTHING
    if (token === undefined || hasPast) return
    const stop = new AbortController()
    const stream = {}
    let waiting: Message[] = []
    let isFirst = true
    const flush = (): void => {
      const messages = waiting
      waiting = []
      if (!stop.signal.aborted) progress.value = after(isFirst ? NOTHING : progress.value, messages)
      isFirst = false
    }
    const take = (message: Message): void => {
      mended(stream)
      if (waiting.push(message) === 1) setTimeout(flush, TOGETHER_MS)
    }
    const run = async (): Promise<void> => {
      for (let tried = 0; !stop.signal.aborted; tried += 1) {
        waiting = []
        isFirst = true
        const code = await connect(id, token, stop.signal, take)
        if (stop.signal.aborted || code === DONE || code === UNAUTHORIZED) return
        lost(stream)
        await rest(pause(tried), stop.signal)
      }
    }
    void run().finally(() => mended(stream))
    return () => stop.abort()
  }, [id, token, attempt, hasPast])
  return progress.value
}
