import { cleanup, render, screen } from '@testing-library/preact'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { begin, end } from '../../src/api/session'
import { useTenants } from '../../src/live/tenants'
import { Socket } from './socket'

const Shown = () => <output>{useTenants().data?.map(({ name }) => name).join()}</output>
const page = (names: readonly string[], seq: number | null, next: string | null = null) =>
  new Response(JSON.stringify({ tenants: names.map((name) => ({ id: name, name })), total: names.length, next, seq }))
const fetched = vi.fn<typeof fetch>()
const asked = (): unknown[] => fetched.mock.calls.map(([path, init]) => [path, (init?.headers as Record<string, string>)['X-Min-Seq']])

beforeEach(() => {
  vi.useFakeTimers()
  vi.stubGlobal('WebSocket', Socket)
  vi.stubGlobal('fetch', fetched.mockReset())
  begin({ token: 't', user: { id: 'u', username: 'admin', email: '', role: 'admin' } })
})

afterEach(async () => {
  cleanup()
  end()
  await vi.runOnlyPendingTimersAsync()
  vi.useRealTimers()
})

describe('the list of all tenants', () => {
  it('is read once when nothing happened until its feed began, and then those that events are about', async () => {
    fetched.mockResolvedValueOnce(page(['a'], 7, 'a')).mockResolvedValueOnce(page(['b'], 9))
    render(<Shown />)
    await vi.advanceTimersByTimeAsync(0)
    Socket.says({ type: 'subscribed', head_seq: 7 })
    await vi.advanceTimersByTimeAsync(1000)
    expect(screen.getByRole('status').textContent).toBe('a,b')
    expect(asked()).toEqual([['/api/fleet/tenants', '0'], ['/api/fleet/tenants?after=a', '0']])

    fetched.mockResolvedValueOnce(page([], null))
    Socket.says({ type: 'event', event: { seq: 10, tenant_id: 'b' } })
    await vi.advanceTimersByTimeAsync(1000)
    expect(screen.getByRole('status').textContent).toBe('a')
    expect(asked().slice(2)).toEqual([['/api/fleet/tenants?named=b', '10']])
  })

  it('is read again when its first page knew less than the feed began with', async () => {
    fetched.mockResolvedValueOnce(page(['a'], 7, 'a')).mockResolvedValueOnce(page(['b'], 8)).mockResolvedValueOnce(page(['a', 'c'], 8))
    render(<Shown />)
    await vi.advanceTimersByTimeAsync(0)
    Socket.says({ type: 'subscribed', head_seq: 8 })
    await vi.advanceTimersByTimeAsync(1000)
    expect(screen.getByRole('status').textContent).toBe('a,c')
    expect(asked().slice(2)).toEqual([['/api/fleet/tenants', '8']])
  })
})
