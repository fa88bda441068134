// Requests to the API. Every GET of state is asked of the moment that the page shows; a write is refused
// while that is the past; a 401 ends the session.
import { signal } from '@preact/signals'
import { asOf } from '../live/moment'
import { ApiError, problemOf } from './problem'
import { end, session } from './session'
import type { Credentials, Login } from './types'

type Query = Record<string, string | number | boolean | undefined>
export type Asked = {
  query?: Query
  /** Waits for this position, so that what was just written is seen. */
  atLeast?: number
  signal?: AbortSignal
  /** What has no past (metrics, output): asked without a moment. */
  now?: boolean
}

const ACCEPT = 'application/json, application/problem+json'
export const EXPIRED = 'Your login has ended. Log in again.'

/** A path with its query, at the moment that the page shows. */
export function address(path: string, { query = {}, now = false }: Asked = {}): string {
  const url = new URL(path, 'http://here')
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== '') url.searchParams.set(name, String(value))
  }
  if (asOf.value !== null && !now) url.searchParams.set('as_of', asOf.value)
  return url.pathname + url.search
}

export function authorized(headers: Record<string, string> = {}): Record<string, string> {
  const token = session.value?.token
  return token ? { ...headers, Authorization: `Bearer ${token}` } : headers
}

async function bodyOf(response: Response): Promise<unknown> {
  const text = await response.text()
  if (text === '') return null
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

/** The answer, if it is a good one. Whoever reads it need not look at its status. */
export async function ask(path: string, init: RequestInit): Promise<Response> {
  const token = session.value?.token
  const response = await fetch(path, init).catch((error: unknown) => {
    if (init.signal?.aborted) throw error
    throw new ApiError(problemOf(0, null))
  })
  if (response.ok) return response
  // An answer to an earlier login says nothing of this one.
  if (response.status === 401 && token !== undefined && token === session.value?.token) end(EXPIRED)
  throw new ApiError(problemOf(response.status, await bodyOf(response)))
}

/** Reads that wait for their answer. */
export const inFlight = signal(0)

export async function get<T>(path: string, asked: Asked = {}): Promise<T> {
  inFlight.value += 1
  try {
    return await read<T>(path, asked)
  } finally {
    inFlight.value -= 1
  }
}

async function read<T>(path: string, asked: Asked): Promise<T> {
  const headers: Record<string, string> = { Accept: ACCEPT }
  if (asked.atLeast !== undefined && asOf.value === null) headers['X-Min-Seq'] = String(asked.atLeast)
  const stop = asked.signal ? { signal: asked.signal } : {}
  const response = await ask(address(path, asked), { headers: authorized(headers), ...stop })
  return (await bodyOf(response)) as T
}

/** What was written, and the position of its last event. */
export type Written<T> = { body: T; seq: number | null }

export async function write<T>(method: 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<Written<T>> {
  if (asOf.value !== null) throw new Error('The past does not change. Return to the present first.')
  const headers: Record<string, string> = { Accept: ACCEPT, 'Idempotency-Key': onceOnly() }
  let sent: BodyInit | null = null
  if (body instanceof FormData) sent = body
  else if (body !== undefined) {
    headers['Content-Type'] = 'application/json'
    sent = JSON.stringify(body)
  }
  const response = await ask(address(path, { now: true }), { method, headers: authorized(headers), body: sent })
  const seq = response.headers.get('X-Event-Seq')
  return { body: (await bodyOf(response)) as T, seq: seq === null ? null : Number(seq) }
}

export async function login(username: string, password: string): Promise<Login> {
  const headers = { Accept: ACCEPT, 'Content-Type': 'application/json' }
  const body = JSON.stringify({ username, password } satisfies Credentials)
  const response = await ask('/api/auth/login', { method: 'POST', headers, body })
  return (await bodyOf(response)) as Login
}

/** `crypto.randomUUID` is there on https and localhost alone; this is everywhere. */
function onceOnly(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
