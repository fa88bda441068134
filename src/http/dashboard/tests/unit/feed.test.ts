import { afterEach, expect, it, vi } from 'vitest'
import { begin, end } from '../../src/api/session'
import { follow } from '../../src/live/feed'
import { Socket } from './socket'

afterEach(() => end())

it('tells its listeners when it begins, so that what happened meanwhile is read again', () => {
  vi.stubGlobal('WebSocket', Socket)
  begin({ token: 't', user: { id: 'u', username: 'admin', email: '', role: 'admin' } })
  const heard = vi.fn()
  const stop = follow(heard)
  const subscribed = (): void => Socket.says({ type: 'subscribed', head_seq: 7 })
  expect(heard).not.toHaveBeenCalled()
  subscribed()
  expect(heard).toHaveBeenCalledExactlyOnceWith([], 7)
  // Taken up again behind its last event, it misses nothing.
  subscribed()
  expect(heard).toHaveBeenCalledOnce()
  stop()
})
