import { cleanup, render, screen } from '@testing-library/preact'
import { afterEach, describe, expect, it } from 'vitest'
import { Log, MOST_LINES } from '../../src/kit/log'
import { harmless } from '../../src/kit/text'
import { duration } from '../../src/kit/time'

afterEach(cleanup)

describe('text from elsewhere', () => {
  it('loses its escape sequences and shows what else controls', () => {
    expect(harmless('\u001b[31mred\u001b[0m plain')).toBe('red plain')
    expect(harmless('\u001b]0;title\u0007after\u001b]8;;http://x\u001b\\link')).toBe('afterlink')
    expect(harmless('a\u0008b\u0000c\u007f\td')).toBe('a␈b␀c␡\td')
    expect(harmless('exe\u202egpj')).toBe('exe�gpj')
    expect(harmless('\u009b31mcsi')).toBe('csi')
  })
})

describe('the log', () => {
  it('shows markup as text and marks what was searched for', () => {
    render(<Log label="Output" lines={[{ key: '1', text: '<img src=x onerror=alert(1)> Error here' }]} marks={['error']} />)
    const log = screen.getByRole('log')
    expect(log.textContent).toContain('<img src=x onerror=alert(1)> Error here')
    expect(log.querySelector('img')).toBeNull()
    expect([...log.querySelectorAll('mark')].map((mark) => mark.textContent)).toEqual(['error', 'Error'])
  })

  it('holds no more lines than it can show', () => {
    const lines = Array.from({ length: MOST_LINES + 5 }, (_, place) => ({ key: String(place), text: `line ${place}` }))
    render(<Log label="Output" lines={lines} />)
    const log = screen.getByRole('log')
    expect(log.querySelectorAll('.log-line').length).toBe(MOST_LINES)
    expect(log.textContent).toContain('5 earlier lines are not shown')
    expect(log.textContent).toContain(`line ${MOST_LINES + 4}`)
  })
})

describe('a length of time', () => {
  it('is told in its two largest parts', () => {
    const told = [320, 5000, 65_000, 3_600_000, 3_665_000, 90_000_000, 200_000_000].map(duration)
    expect(told).toEqual(['320 ms', '5 s', '1 min 5 s', '1 h', '1 h 1 min', '1 d 1 h', '2 d 7 h'])
  })
})
