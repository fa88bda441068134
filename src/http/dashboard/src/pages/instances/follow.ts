// An instance's output: the last lines, and those that come, over a WebSocket of its own.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { get } from '../../api/client'
import { session } from '../../api/session'
import type { OutputLine, OutputPage, OutputRequest } from '../../api/types'
import { lost, mended, pause, rest } from '../../live/link'
import { KEPT, continued } from './lines'

const FIRST = 500
/** A burst is one rendering. */
const TOGETHER_MS = 100
const UNAUTHORIZED = 4401

type Numbered = OutputLine & { number: number }
export type Followed = { lines: readonly Numbered[]; error: unknown; isRead: boolean }

/** Ends with the connection; gives the code that it ended with. */
function stream(instance: string, signal: AbortSignal, begun: () => void, take: (line: OutputLine) => void): Promise<number> {
  return new Promise((resolve) => {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
    const socket = new WebSocket(`${scheme}://${location.host}/api/logs/stream?instance=${encodeURIComponent(instance)}`)
    const close = (): void => {
      if (socket.readyState !== WebSocket.CONNECTING) socket.close()
    }
    signal.addEventListener('abort', close)
    socket.addEventListener('open', () => {
      if (signal.aborted) return void socket.close()
      socket.send(JSON.stringify({ type: 'auth', token: session.value?.token ?? '' } satisfies OutputRequest))
      begun()
    })
    socket.addEventListener('message', ({ data }: MessageEvent<string>) => {
      const line = JSON.parse(data) as Partial<OutputLine>
      if (!signal.aborted && line.message !== undefined) take(line as OutputLine)
    })
    socket.addEventListener('close', ({ code }) => {
      signal.removeEventListener('abort', close)
      resolve(code)
    })
  })
}

export function useOutput(service: string, id: string): Followed {
  const lines = useSignal<readonly Numbered[]>([])
  const error = useSignal<unknown>(undefined)
  const isRead = useSignal(false)
  useEffect(() => {
    const stop = new AbortController()
    const link = {}
    let number = 0
    let live: OutputLine[] = []
    let waiting: ReturnType<typeof setTimeout> | undefined
    const show = (all: readonly OutputLine[]): void => {
      lines.value = all.slice(-KEPT).map((line) => ('number' in line ? (line as Numbered) : { ...line, number: (number += 1) }))
    }
    const handOn = (): void => {
      waiting = undefined
      // What comes before the first page was read belongs behind it.
      if (!isRead.value) return
      const batch = live
      live = []
      show([...lines.value, ...batch])
    }
    const take = (line: OutputLine): void => {
      live.push(line)
      if (live.length > KEPT) live.shift()
      waiting ??= setTimeout(handOn, TOGETHER_MS)
    }
    const read = async (): Promise<void> => {
      mended(link)
      isRead.value = false
      const path = `/api/logs/${encodeURIComponent(service)}/${encodeURIComponent(id)}`
      const page = await get<OutputPage>(path, { query: { limit: FIRST }, now: true, signal: stop.signal })
      const batch = live
      live = []
      // After a lost connection it begins anew, with what is last by then.
      show(continued(page.logs.toSorted((a, b) => a.timestamp.localeCompare(b.timestamp)), batch))
      isRead.value = true
      error.value = undefined
    }
    const run = async (): Promise<void> => {
      for (let attempt = 0; !stop.signal.aborted; attempt += 1) {
        live = []
        const begun = (): void => {
          attempt = 0
          read().catch((refusal: unknown) => stop.signal.aborted || (error.value = refusal))
        }
        const code = await stream(`${service}:${id}`, stop.signal, begun, take)
        if (stop.signal.aborted || code === UNAUTHORIZED) return
        lost(link)
        await rest(pause(attempt), stop.signal)
      }
    }
    void run()
    return () => {
      stop.abort()
      clearTimeout(waiting)
      mended(link)
    }
  }, [service, id])
  return { lines: lines.value, error: error.value, isRead: isRead.value }
}
