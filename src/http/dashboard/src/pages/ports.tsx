// Pairs of ports: who holds them, and who listens there without holding them.
import type { Allocation, PortList, Stranger } from '../api/types'
import { Badge } from '../kit/badge'
import { Empty, Failed, Loading } from '../kit/states'
import { type Column, Table } from '../kit/table'
import { Ago } from '../kit/time'
import { useLive } from '../live/use'
import { href, note, place } from '../shell/router'

const LABELS: Record<Allocation['status'], { state: string; label: string }> = {
  in_use: { state: 'active', label: 'in use' },
  available: { state: 'stopped', label: 'available' },
  unavailable: { state: 'warning', label: 'taken' },
}

export const strangerWords = ({ port, pid, program }: Stranger): string => {
  const who = program ?? (pid === null ? 'somebody who cannot be seen' : 'a process')
  return `${who}${pid === null ? '' : ` (pid ${pid})`} listens on ${port}`
}

const drift = (pair: Allocation): string => (pair.drift ?? []).map(strangerWords).join('; ')

const COLUMNS: readonly Column<Allocation>[] = [
  { key: 'ports', title: 'Ports', width: '8.5rem', by: (pair) => pair.frontend_port, cell: (pair) => <span class="number">{pair.frontend_port} / {pair.backend_port}</span> },
  { key: 'status', title: 'State', width: '7rem', by: (pair) => pair.status, cell: (pair) => <Badge {...LABELS[pair.status]} /> },
  {
    key: 'tenant', title: 'Tenant', width: 'minmax(6rem, 1.2fr)', by: (pair) => pair.tenant_name,
    cell: (pair) => (pair.tenant_id === null ? <span class="quiet">nobody</span> : <a href={href(`/tenants/${pair.tenant_id}`)}>{pair.tenant_name ?? pair.tenant_id}</a>),
  },
  { key: 'drift', title: 'Strangers', width: 'minmax(12rem, 2fr)', wideOnly: true, by: drift, cell: (pair) => <span class="word bad" title={drift(pair)}>{drift(pair)}</span> },
  { key: 'since', title: 'Held since', width: '8rem', wideOnly: true, by: (pair) => pair.allocated_at, cell: (pair) => pair.allocated_at !== undefined && <Ago at={pair.allocated_at} /> },
]

export function Ports() {
  const { data, error } = useLive<PortList>('/api/ports')
  const shown = place.value.query.get('state') ?? ''
  const all = data?.allocations ?? []
  const rows = all.filter((pair) => shown === '' || (shown === 'drift' ? (pair.drift ?? []).length > 0 : pair.status === shown))
  const strangers = all.filter((pair) => (pair.drift ?? []).length > 0)
  return (
    <div class="page fills">
      <div class="page-head">
        <h1>Ports</h1>
        <p class="quiet" role="status">{data && `${data.in_use_count} in use, ${data.available_count} available`}</p>
        <div class="tools">
          <select aria-label="State" value={shown} onChange={(event) => note({ state: event.currentTarget.value })}>
            <option value="">All pairs</option>
            <option value="in_use">In use</option>
            <option value="available">Available</option>
            <option value="unavailable">Taken by another</option>
            <option value="drift">With strangers</option>
          </select>
        </div>
      </div>
      {strangers.length > 0 && <p class="banner warn" role="status">{strangers.length === 1 ? 'One pair has a stranger' : `${strangers.length} pairs have strangers`}: {drift(strangers[0] as Allocation)}{strangers.length > 1 && ', and others'}.</p>}
      {error !== undefined && <Failed error={error} />}
      {data === undefined && error === undefined && <Loading what="ports" />}
      {data && <Table label="Pairs of ports" rows={rows} columns={COLUMNS} keyOf={(pair) => String(pair.frontend_port)} order={{ column: 'ports', isDown: false }} empty={<Empty title="No such pair" />} />}
    </div>
  )
}
