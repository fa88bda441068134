// The feed of events, live, over one WebSocket (which does not count among a browser's few connections).
// After a loss it goes on behind the last event, so none is missed.
import { session } from '../api/session'
import type { Event, FeedMessage, FeedRequest } from '../api/types'
import { lost, mended, pause, rest } from './link'
import { asOf } from './moment'
import { shut } from './socket'
import { effect } from '@preact/signals'

/** `head` is the position that the feed has come to. */
type Listener = (events: Event[], head: number) => void

/** Events are handed on together, so that a burst is one rendering. */
const TOGETHER_MS = 100
const UNAUTHORIZED = 4401

const listeners = new Set<Listener>()
const feed = {}
let last: number | null = null
let running: AbortController | null = null
let waiting: Event[] = []

function handOn(): void {
  const events = waiting
  waiting = []
  for (const listener of listeners) listener(events, last ?? 0)
}

function take(message: FeedMessage): void {
  if (message.type === 'subscribed' && last === null) {
    last = message.head_seq
    // What happened up to here comes to nobody: whoever has read less than that reads it again.
    for (const listener of listeners) listener([], last)
  }
  if (message.type !== 'event') return
  last = message.event.seq
  if (waiting.push(message.event) === 1) setTimeout(handOn, TOGETHER_MS)
}

function connect(token: string, signal: AbortSignal): Promise<number> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws/events`)
    const close = (): void => shut(socket)
    const say = (request: FeedRequest): void => socket.send(JSON.stringify(request))
    signal.addEventListener('abort', close)
    socket.addEventListener('open', () => {
      if (signal.aborted) return void socket.close()
      say({ type: 'auth', token })
      say({ type: 'subscribe', ...(last === null ? {} : { from_seq: last + 1 }) })
    })
    socket.addEventListener('message', ({ data }: MessageEvent<string>) => {
      if (signal.aborted) return
      mended(feed)
      take(JSON.parse(data) as FeedMessage)
    })
    socket.addEventListener('close', ({ code }) => {
      signal.removeEventListener('abort', close)
      resolve(code)
    })
  })
}

async function run(token: string, signal: AbortSignal): Promise<void> {
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    const before = last
    const code = await connect(token, signal)
    // A credential that ended is told by the next request, too; here there is nothing to try again.
    if (signal.aborted || code === UNAUTHORIZED) return
    lost(feed)
    if (last !== before) attempt = 0
    await rest(pause(attempt), signal)
  }
}

function look(): void {
  const token = session.value?.token
  const isWanted = listeners.size > 0 && token !== undefined && asOf.value === null
  if (isWanted && running === null) {
    running = new AbortController()
    void run(token, running.signal)
  }
  if (!isWanted && running !== null) {
    running.abort()
    running = null
    last = null
    mended(feed)
  }
}

effect(look)

/** Hands on events as they come, until what is returned is called; none at once when the feed begins. Nothing comes while the past is shown. */
export function follow(listener: Listener): () => void {
  listeners.add(listener)
  look()
  return () => {
    listeners.delete(listener)
    // A page that is left is followed by one that listens as well.
    setTimeout(look, TOGETHER_MS)
  }
}
