// What stands wrong until somebody mends it: certificates that cannot be had or are about to end, disks that fill up.
import type { FleetCertificate, FleetSpace } from '../../api/types'

export type Standing = { key: string; text: string; state: 'critical' | 'warning'; tenant: string | null; at: string | null }

const MIB = 1024

/** In MiB, or in GiB when there are many. */
const size = (mib: number): string => (mib < MIB ? `${Math.round(mib)} MiB` : `${(mib / MIB).toFixed(1)} GiB`)

/** One that is due and still there was not renewed; there is a month between, or a third of its life. */
export function ofCertificates(certificates: readonly FleetCertificate[], now: number): Standing[] {
  return certificates.flatMap((it): Standing[] => {
    const name = it.domain ?? it.name
    const base = { key: `certificate ${it.tenant_id}`, tenant: it.tenant_id }
    if (it.not_after !== null && Date.parse(it.not_after) <= now) return [{ ...base, text: `The certificate of ${name} has ended`, state: 'critical', at: it.not_after }]
    if (it.failures > 0) return [{ ...base, text: `No certificate for ${name}: ${it.failures} ${it.failures === 1 ? 'try' : 'tries'} failed`, state: 'warning', at: null }]
    const isLate = it.renews_at !== null && it.not_after !== null && now > (Date.parse(it.renews_at) + Date.parse(it.not_after)) / 2
    return isLate ? [{ ...base, text: `The certificate of ${name} was not renewed and ends soon`, state: 'warning', at: it.not_after }] : []
  })
}

export function ofSpace({ disk, quotas }: FleetSpace): Standing[] {
  const all: Standing[] = quotas.first.map((it) => ({
    key: `quota ${it.instance}`, tenant: it.tenant_id, at: null, state: it.used_mb > it.quota_mb ? 'critical' : 'warning',
    text: `${it.instance} takes ${size(it.used_mb)} of its quota of ${size(it.quota_mb)}`,
  }))
  if (disk === null || disk.state === 'enough') return all
  const state = disk.state === 'none' ? 'critical' : 'warning'
  return [{ key: 'disk', text: `${size(disk.free_mb)} of ${size(disk.total_mb)} are free where the data lies`, state, tenant: null, at: null }, ...all]
}
