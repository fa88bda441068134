import { describe, expect, it } from 'vitest'
import type { Event, FleetCertificate, TenantLine } from '../../src/api/types'
import { joined } from '../../src/live/ticker'
import { byCount } from '../../src/pages/overview/counts'
import { ofCertificates, ofSpace } from '../../src/pages/overview/standing'
import { matching } from '../../src/pages/tenants/filter'

const event = (seq: number, kind: Event['kind'], data: Record<string, unknown>): Event => ({
  seq, id: String(seq), at: new Date(seq * 1000).toISOString(), kind, actor: { type: 'system', id: null, name: null },
  tenant_id: 'T', instance: null, command_id: 'c', caused_by: null, data,
})
const tenant = (name: string, more: Partial<TenantLine> = {}): TenantLine => ({
  id: name, name, slug: name.toLowerCase(), domain: `${name}.example`, api_domain: null, status: 'running', health_status: 'healthy',
  frontend_port: 1, backend_port: 2, created_at: '', deployed_at: null, ...more,
})
describe('what stands wrong', () => {
  const now = Date.parse('2026-06-01T00:00:00Z')
  const day = 86_400_000
  const at = (days: number): string => new Date(now + days * day).toISOString()
  const certificate = (more: Partial<FleetCertificate>): FleetCertificate => ({
    tenant_id: 'T', name: 'T', domain: 't.example', not_after: at(40), renews_at: at(10), failures: 0, retry_at: null, ...more,
  })

  it('is a certificate that ended, could not be had, or was not renewed in time', () => {
    const all = [
      certificate({}), certificate({ not_after: at(-1) }), certificate({ failures: 2 }), certificate({ failures: 1, not_after: null, renews_at: null, domain: null }),
      certificate({ renews_at: at(-20), not_after: at(10) }), certificate({ renews_at: at(-1), not_after: at(29) }),
    ]
    expect(ofCertificates(all, now).map(({ text, state }) => `${state}: ${text}`)).toEqual([
      'critical: The certificate of t.example has ended',
      'warning: No certificate for t.example: 2 tries failed',
      'warning: No certificate for T: 1 try failed',
      'warning: The certificate of t.example was not renewed and ends soon',
    ])
  })

  it('is a disk that is nearly full, and what is near its quota', () => {
    const quotas = { near: 2, over: 1, first: [{ instance: 'api:x', tenant_id: null, used_mb: 1500, quota_mb: 1024 }, { instance: 'api:y', tenant_id: null, used_mb: 90, quota_mb: 100 }] }
    expect(ofSpace({ disk: { total_mb: 2048, free_mb: 512, state: 'little' }, quotas }).map(({ text, state }) => `${state}: ${text}`)).toEqual([
      'warning: 512 MiB of 2.0 GiB are free where the data lies',
      'critical: api:x takes 1.5 GiB of its quota of 1.0 GiB',
      'warning: api:y takes 90 MiB of its quota of 100 MiB',
    ])
    expect(ofSpace({ disk: { total_mb: 2048, free_mb: 1900, state: 'enough' }, quotas: { near: 0, over: 0, first: [] } })).toEqual([])
  })
})

describe('the fleet', () => {
  it('is counted by state, the most first', () => {
    expect(byCount({ running: 1, stopped: 3 })).toEqual([['stopped', 3], ['running', 1]])
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
