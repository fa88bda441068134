import { describe, expect, it } from 'vitest'
import type { Event, InstanceLine, TenantLine } from '../../src/api/types'
import { joined } from '../../src/live/ticker'
import { unwell } from '../../src/pages/overview/attention'
import { countBy } from '../../src/pages/overview/counts'
import { deploymentsOf } from '../../src/pages/overview/deployments'
import { matching } from '../../src/pages/tenants/filter'

const event = (seq: number, kind: Event['kind'], data: Record<string, unknown>): Event => ({
  seq, id: String(seq), at: new Date(seq * 1000).toISOString(), kind, actor: { type: 'system', id: null, name: null },
  tenant_id: 'T', instance: null, command_id: 'c', caused_by: null, data,
})
const tenant = (name: string, more: Partial<TenantLine> = {}): TenantLine => ({
  id: name, name, slug: name.toLowerCase(), domain: `${name}.example`, api_domain: null, status: 'running', health_status: 'healthy',
  frontend_port: 1, backend_port: 2, created_at: '', deployed_at: null, ...more,
})
const instance = (name: string, more: Partial<InstanceLine> = {}): InstanceLine => ({
  instance: name, service: name.split(':')[0] ?? '', id: name.split(':')[1] ?? '', socket: null, status: 'running', uptime_ms: 1,
  health: 'healthy', restart_count: 0, weight: 100, ...more,
})

describe('deployments', () => {
  it('are read from their events, those that run first', () => {
    const first = { deployment_id: 'one' }
    const second = { deployment_id: 'two' }
    const found = deploymentsOf([
      event(5, 'deployment.finished', { ...second, outcome: 'failed' }),
      event(4, 'deployment.requested', second),
      event(3, 'deployment.step_started', { ...first, step: 'copy_files' }),
      event(2, 'deployment.requested', first),
      event(1, 'deployment.releases_pruned', {}),
    ])
    expect(found.map(({ id, status, step }) => [id, status, step])).toEqual([['one', 'running', 'copy files'], ['two', 'failed', '']])
  })

  it('that are taken up again run again', () => {
    const one = { deployment_id: 'one' }
    const [it1] = deploymentsOf([event(3, 'deployment.retried', one), event(2, 'deployment.finished', { ...one, outcome: 'failed' }), event(1, 'deployment.requested', one)])
    expect([it1?.status, it1?.ended]).toEqual(['running', null])
  })
})

describe('the fleet', () => {
  it('is counted by state, the most first', () => {
    expect(countBy(['a', 'b', 'b'], (it) => it)).toEqual([['b', 2], ['a', 1]])
  })

  it('tells what is not well, a tenant and not its processes', () => {
    const tenants = [tenant('A', { health_status: 'degraded' }), tenant('B'), tenant('C', { status: 'error' })]
    const instances = [instance('backend:a', { status: 'failed' }), instance('api:x', { status: 'restarting', restart_count: 1 }), instance('api:y', { status: 'restarting' }), instance('api:z', { status: 'starting', restart_count: 3 })]
    expect(unwell(tenants, instances).map(({ name, state }) => [name, state])).toEqual([['A', 'degraded'], ['C', 'error'], ['api:x', 'restarting'], ['api:z', 'restarting']])
  })

  it('is found by every word, in any order, and by state', () => {
    const tenants = [tenant('Smith Senate'), tenant('Smith Mayor', { status: 'stopped' })]
    expect(matching(tenants, 'senate smith', '').length).toBe(1)
    expect(matching(tenants, '', 'stopped').map((it) => it.name)).toEqual(['Smith Mayor'])
    expect(matching(tenants, '', '')).toBe(tenants)
  })
})

describe('the ticker', () => {
  it('holds each event once, the newest first', () => {
    const known = [event(3, 'tenant.updated', {}), event(2, 'tenant.updated', {})]
    expect(joined(known, [event(4, 'tenant.updated', {}), event(3, 'tenant.updated', {})], 3).map((it) => it.seq)).toEqual([4, 3, 2])
  })
})
