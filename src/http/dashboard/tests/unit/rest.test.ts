import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { atRest } from '../../src/time/rest'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('what nobody waits for', () => {
  it('is done when nothing was touched for half a second', async () => {
    let isDone = false
    dispatchEvent(new Event('wheel'))
    const done = atRest(new AbortController().signal).then(() => (isDone = true))
    await vi.advanceTimersByTimeAsync(400)
    dispatchEvent(new Event('scroll'))
    await vi.advanceTimersByTimeAsync(400)
    expect(isDone).toBe(false)
    await vi.advanceTimersByTimeAsync(200)
    await done
    expect(isDone).toBe(true)
  })

  it('is not done by a page that is gone', async () => {
    const stop = new AbortController()
    dispatchEvent(new Event('keydown'))
    const done = expect(atRest(stop.signal)).rejects.toThrow()
    stop.abort()
    await vi.advanceTimersByTimeAsync(600)
    await done
  })
})
