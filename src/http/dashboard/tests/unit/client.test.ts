import { beforeEach, describe, expect, it, vi } from 'vitest'
import { address, get, write } from '../../src/api/client'
import { ApiError, fieldOf, messageOf, problemOf } from '../../src/api/problem'
import { begin, farewell, session } from '../../src/api/session'
import { asOf } from '../../src/live/moment'

const user = { id: 'u', username: 'admin', email: 'a@example.com', role: 'admin' as const }
const answers = (status: number, body: unknown, headers: Record<string, string> = {}) => {
  const fetched = vi.fn<typeof fetch>(async () => new Response(body === null ? null : JSON.stringify(body), { status, headers }))
  vi.stubGlobal('fetch', fetched)
  return fetched
}
const refusal = async (asked: Promise<unknown>): Promise<ApiError> => {
  const error = await asked.then(() => undefined, (thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(ApiError)
  return error as ApiError
}

beforeEach(() => {
  asOf.value = null
  begin({ token: 'secret', user })
})

describe('the client', () => {
  it('asks every GET of the moment that the page shows', async () => {
    const fetched = answers(200, { tenants: [] })
    asOf.value = '42'
    await get('/api/tenants', { query: { limit: 5, search: '' } })
    expect(fetched.mock.calls[0]?.[0]).toBe('/api/tenants?limit=5&as_of=42')
    expect(address('/api/metrics/a/b', { now: true })).toBe('/api/metrics/a/b')
    asOf.value = null
    expect(address('/api/tenants?limit=5')).toBe('/api/tenants?limit=5')
  })

  it('sends the token as a header and never in the address', async () => {
    const fetched = answers(200, {})
    await get('/api/tenants', { atLeast: 9 })
    const [path, init] = fetched.mock.calls[0] ?? []
    expect(path).not.toContain('secret')
    expect(init?.headers).toMatchObject({ Authorization: 'Bearer secret', 'X-Min-Seq': '9' })
  })

  it('writes nothing in the past', async () => {
    const fetched = answers(200, {})
    asOf.value = '42'
    await expect(write('POST', '/api/tenants', {})).rejects.toThrow('The past does not change')
    expect(fetched).not.toHaveBeenCalled()
  })

  it('tells the position of what was written, and gives each write a key', async () => {
    const fetched = answers(201, { id: 'x' }, { 'X-Event-Seq': '17' })
    expect(await write('POST', '/api/tenants', { name: 'a' })).toEqual({ body: { id: 'x' }, seq: 17 })
    await write('POST', '/api/tenants', { name: 'a' })
    const keys = fetched.mock.calls.map(([, init]) => new Headers(init?.headers).get('Idempotency-Key'))
    expect(keys[0]).toMatch(/^[0-9a-f]{32}$/)
    expect(keys[0]).not.toBe(keys[1])
  })

  it('ends the session on 401, and not on an answer to an earlier one', async () => {
    answers(401, { detail: 'The credential is not valid.', status: 401, code: 'unauthorized' })
    const asked = get('/api/tenants')
    begin({ token: 'newer', user })
    expect((await refusal(asked)).status).toBe(401)
    expect(session.value?.token).toBe('newer')
    await refusal(get('/api/tenants'))
    expect([session.value, farewell.value]).toEqual([null, 'Your login has ended. Log in again.'])
    expect(sessionStorage.length).toBe(0)
  })

  it('tells of a server that does not answer', async () => {
    vi.stubGlobal('fetch', vi.fn(async () => Promise.reject(new TypeError('Failed to fetch'))))
    const error = await refusal(get('/api/tenants'))
    expect([error.status, messageOf(error)]).toEqual([0, 'The server does not answer.'])
  })
})

describe('refusals', () => {
  it('are read in each of the three shapes', () => {
    const manager = problemOf(409, { error: 'slug is taken.', detail: 'Choose another.', code: 'SLUG_TAKEN' })
    expect([manager.code, manager.message]).toEqual(['slug_taken', 'Choose another.'])
    const instances = problemOf(404, { error: 'instance_not_found', message: 'Instance not found', status: 404 })
    expect([instances.code, instances.message]).toEqual(['instance_not_found', 'Instance not found'])
    const problem = problemOf(400, { detail: 'name must not be empty.', code: 'invalid_field', hint: 'give one.' })
    expect(messageOf(new ApiError(problem))).toBe('name must not be empty. Give one.')
    expect(problemOf(502, null).message).toBe('The server answered 502.')
  })

  it('name their field where there is one', () => {
    const of = (detail: string) => fieldOf(new ApiError(problemOf(400, { detail })), ['name', 'slug', 'frontend_port'])
    expect(of("The field 'slug' is wrong: it has a space.")).toBe('slug')
    expect(of("slug 't0' belongs to another tenant.")).toBe('slug')
    expect(of('frontend_port 80 is not between 1024 and 65535.')).toBe('frontend_port')
    expect(of('Writes are not accepted at the moment.')).toBeUndefined()
    expect(fieldOf(new Error('slug'), ['slug'])).toBeUndefined()
  })
})
