import { afterEach, expect, it, vi } from 'vitest'
import { begin, end } from '../../src/api/session'
import { follow } from '../../src/live/feed'

class Socket extends EventTarget {
  static readonly CONNECTING = 0
  static last: Socket
  readyState = 1
  constructor() {
    super()
    Socket.last = this
  }
  send(): void {}
  close(): void {
    this.dispatchEvent(Object.assign(new Event('close'), { code: 1000 }))
  }
}

afterEach(() => end())

it('tells its listeners when it begins, so that what happened meanwhile is read again', () => {
  vi.stubGlobal('WebSocket', Socket)
  begin({ token: 't', user: { id: 'u', username: 'admin', email: '', role: 'admin' } })
  const heard = vi.fn()
  const stop = follow(heard)
  const subscribed = (): boolean => Socket.last.dispatchEvent(new MessageEvent('message', { data: '{"type":"subscribed","head_seq":7}' }))
  expect(heard).not.toHaveBeenCalled()
  subscribed()
  expect(heard).toHaveBeenCalledExactlyOnceWith([])
  // Taken up again behind its last event, it misses nothing.
  subscribed()
  expect(heard).toHaveBeenCalledOnce()
  stop()
})
