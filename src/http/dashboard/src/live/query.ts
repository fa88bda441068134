// Live queries: what a GET shows, and again whenever it has become another. Equal questions share one stream.
//
// Streams are requests that stay open, and a browser has six connections to one server for all of its
// tabs. So a hidden tab lets go of its streams and takes them up again from the last id, and no tab holds more
// than MOST_STREAMS: whatever is asked beyond that is read again after events came.
import { signal } from '@preact/signals'
import { address, ask, authorized, get } from '../api/client'
import { ApiError } from '../api/problem'
import { follow } from './feed'
import { lost, mended, pause, rest } from './link'
import { isPast } from './moment'
import { messages } from './sse'
import { isShown } from './visible'

const MOST_STREAMS = 3
/** A comment comes every 15 s; two of them missing is a dead connection. */
const SILENCE_MS = 40_000
/** A page that is left is often followed by one that asks the same. */
const LINGER_MS = 1000
/** The shortest time between two readings of what has no stream. */
const REREAD_MS = 2000

const open = new Set<LiveQuery>()
const queries = new Map<string, LiveQuery>()

export class LiveQuery {
  readonly data = signal<unknown>(undefined)
  readonly error = signal<unknown>(undefined)
  readonly #path: string
  #users = 0
  #running: AbortController | null = null
  #lastId = ''
  #isGone = false

  constructor(path: string) {
    this.#path = path
  }

  /** Follows for as long as somebody looks; call what it returns when they don't any more. */
  use(): () => void {
    this.#users += 1
    this.#start()
    return () => {
      this.#users -= 1
      // What is over does not go on, and whoever drags through time waits for none of it.
      const linger = this.#path.includes('as_of=') ? 0 : LINGER_MS
      setTimeout(() => this.#users === 0 && this.#end(), linger)
    }
  }

  #start(): void {
    if (this.#running !== null) return
    const running = new AbortController()
    this.#running = running
    void this.#run(running.signal).finally(() => {
      open.delete(this)
      mended(this)
    })
  }

  #end(): void {
    this.#running?.abort()
    this.#running = null
    queries.delete(this.#path)
  }

  async #run(signal: AbortSignal): Promise<void> {
    if (this.#path.includes('as_of=')) return this.#read(signal)
    if (open.size >= MOST_STREAMS) return this.#reread(signal)
    open.add(this)
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      await isShown(signal)
      try {
        await this.#stream(signal, () => (attempt = 0))
      } catch (error) {
        if (signal.aborted) return
        if (!mayPass(error)) {
          this.error.value = error
          return
        }
      }
      // What is gone does not come back under this address; asking again would only be refused.
      if (this.#isGone) return
      if (signal.aborted || document.hidden) continue
      lost(this)
      await rest(pause(attempt), signal)
    }
  }

  async #stream(signal: AbortSignal, works: () => void): Promise<void> {
    const stop = new AbortController()
    const silence = setInterval(() => Date.now() - heard > SILENCE_MS && stop.abort(), SILENCE_MS / 4)
    const hide = (): void => void (document.hidden && stop.abort())
    let heard = Date.now()
    document.addEventListener('visibilitychange', hide)
    try {
      const headers: Record<string, string> = { Accept: 'text/event-stream, application/problem+json' }
      if (this.#lastId !== '') headers['Last-Event-ID'] = this.#lastId
      const both = AbortSignal.any([signal, stop.signal])
      const response = await ask(this.#path, { headers: authorized(headers), signal: both, cache: 'no-store' })
      const alive = (): void => {
        heard = Date.now()
        mended(this)
        works()
      }
      alive()
      for await (const message of messages(response, alive)) this.#take(message)
    } finally {
      clearInterval(silence)
      document.removeEventListener('visibilitychange', hide)
    }
  }

  #take({ id, event, data }: { id: string; event: string; data: string }): void {
    this.#lastId = id
    if (event === 'gone') {
      this.#isGone = true
      this.error.value = new ApiError({ status: 404, code: 'gone', message: 'This is gone.', hint: '', more: {} })
      return
    }
    this.error.value = undefined
    this.data.value = JSON.parse(data)
  }

  async #read(signal: AbortSignal): Promise<void> {
    try {
      const body = await get(this.#path, { signal, now: true })
      this.data.value = body
      this.error.value = undefined
    } catch (error) {
      if (!signal.aborted) this.error.value = error
    }
  }

  async #reread(signal: AbortSignal): Promise<void> {
    let waiting = false
    const stop = follow(() => {
      if (waiting) return
      waiting = true
      setTimeout(() => {
        waiting = false
        void this.#read(signal)
      }, REREAD_MS)
    })
    signal.addEventListener('abort', stop)
    // After it follows, so that nothing falls between.
    await this.#read(signal)
  }
}

/** Whether it is worth another attempt. */
function mayPass(error: unknown): boolean {
  if (!(error instanceof ApiError)) return true
  return error.status === 0 || error.status === 408 || error.status === 429 || error.status >= 500
}

/** The query of a path, at the moment that the page shows. */
export function queryOf(path: string): LiveQuery {
  const whole = isPast.value ? address(path) : path
  const known = queries.get(whole)
  if (known) return known
  const query = new LiveQuery(whole)
  queries.set(whole, query)
  return query
}
