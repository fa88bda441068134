import { describe, expect, it } from 'vitest'
import type { Event } from '../../src/api/types'
import { Clock } from '../../src/time/clock'
import { grouped, shown, summarized } from '../../src/time/diff'
import { type Mark, density, marksOf, merged, neighbour, share } from '../../src/time/marks'

const event = (seq: number, kind: Event['kind'], more: Partial<Event> = {}): Event => ({
  seq, kind, id: String(seq), at: new Date(seq * 1000).toISOString(), actor: { type: 'system', id: null, name: null },
  tenant_id: null, instance: null, command_id: 'c', caused_by: null, data: {}, ...more,
})

describe('marks', () => {
  it('are made of ends of deployments, crashes and restores alone', () => {
    const found = marksOf([
      event(1, 'deployment.finished', { data: { outcome: 'success' } }),
      event(2, 'deployment.finished', { data: { outcome: 'failed' } }),
      event(3, 'instance.restart_scheduled'),
      event(4, 'tenant.restored'),
      event(5, 'tenant.updated'),
    ])
    expect(found.map(({ seq, type }) => [seq, type])).toEqual([[1, 'deployment'], [2, 'failure'], [3, 'failure'], [4, 'restore']])
  })

  it('are counted by columns, so that a hundred thousand of them draw no more than the columns', () => {
    const many: Mark[] = Array.from({ length: 100_000 }, (_, place) => ({ seq: place * 10 + 1, at: 0, type: place % 2 === 0 ? 'failure' : 'deployment' }))
    const counts = density(many, 1_000_000, 500)
    expect(counts.failure).toHaveLength(500)
    expect([...counts.failure].reduce((sum, count) => sum + count, 0)).toBe(50_000)
    expect(Math.max(...counts.deployment) - Math.min(...counts.deployment.slice(0, -1))).toBeLessThan(5)
    expect(density([{ seq: 1_000_000, at: 0, type: 'restore' }], 1_000_000, 500).restore[499]).toBe(1)
  })

  it('keep their order and stand once', () => {
    const [a, b, c] = [1, 5, 9].map((seq): Mark => ({ seq, at: 0, type: 'failure' })) as [Mark, Mark, Mark]
    const all = merged([b], [c, a, b])
    expect(all.map(({ seq }) => seq)).toEqual([1, 5, 9])
    expect(neighbour(all, 5, -1)?.seq).toBe(1)
    expect(neighbour(all, 5, 1)?.seq).toBe(9)
    expect(neighbour(all, 9, 1)).toBeUndefined()
    expect(neighbour(all, 1, -1)).toBeUndefined()
  })

  it('share the length of the journal, also of one event', () => {
    expect([share(1, 101), share(51, 101), share(101, 101), share(200, 101), share(1, 1)]).toEqual([0, 0.5, 1, 1, 1])
  })
})

describe('the clock', () => {
  it('knows what it was told, guesses between, and says which it is', () => {
    const clock = new Clock()
    expect(clock.at(1)).toBeUndefined()
    clock.add([{ seq: 101, at: 2000 }, { seq: 1, at: 1000 }])
    expect(clock.at(51)).toEqual({ at: 1500, isExact: false })
    clock.add([{ seq: 51, at: 1900 }])
    expect(clock.at(51)).toEqual({ at: 1900, isExact: true })
    expect(clock.at(76)).toEqual({ at: 1950, isExact: false })
    expect(clock.at(500)).toEqual({ at: 2000, isExact: false })
  })
})

describe('a difference', () => {
  it('is grouped by what stands before the point, the tenant first', () => {
    const change = (field: string) => ({ field, from: null, to: 1 })
    const groups = grouped(['theme.colour', 'config.title', 'name', 'config.colour', 'domain'].map(change))
    expect(groups.map(({ title, changes }) => [title, changes.length])).toEqual([['Tenant', 2], ['Configuration', 2], ['Theme', 1]])
  })

  it('shows values as one reads them', () => {
    expect([null, 'text', 5, false, ['a']].map(shown)).toEqual(['nothing', 'text', '5', 'false', '["a"]'])
  })

  it('of everything is told by what the events are about', () => {
    const events = [event(1, 'tenant.updated', { tenant_id: 't' }), event(2, 'user.created'), event(3, 'tenant.updated', { tenant_id: 't' }), event(4, 'instance.started', { instance: 'api:one' })]
    const all = summarized(events, new Map([['t', 'Smith']]))
    expect(all.map(({ title, count }) => [title, count])).toEqual([['Smith', 2], ['Control plane', 1], ['api:one', 1]])
    expect(all[0]?.kinds).toEqual([['tenant.updated', 2]])
  })
})
