// The table of instances.
import { useMemo } from 'preact/hooks'
import { get } from '../../api/client'
import type { FleetUsage, InstanceLine, InstanceUsage } from '../../api/types'
import { Badge } from '../../kit/badge'
import { Empty, Failed, Loading } from '../../kit/states'
import { type Column, Table } from '../../kit/table'
import { Ago } from '../../kit/time'
import { useInstances } from '../../live/instances'
import { useMeasured } from '../../live/measured'
import { isPast } from '../../live/moment'
import { go, note, place } from '../../shell/router'

/** With when its process began, by the clock of this browser, and what it uses. */
type Row = InstanceLine & { since: string | null; usage: InstanceUsage | undefined }

const STATES: readonly (InstanceLine['status'] | InstanceLine['health'])[] = ['running', 'starting', 'stopping', 'sleeping', 'restarting', 'failed', 'stopped', 'unhealthy']
/** The API's own bound. */
const PAGE = 1000

async function readUsage(signal: AbortSignal): Promise<{ every: number; of: ReadonlyMap<string, InstanceUsage> }> {
  const of = new Map<string, InstanceUsage>()
  for (let offset = 0; ; offset += PAGE) {
    const page = await get<FleetUsage>('/api/fleet/usage', { query: { limit: PAGE, offset }, now: true, signal })
    for (const one of page.usage) of.set(one.instance, one)
    if (!page.pagination.has_more) return { every: page.interval_seconds, of }
  }
}

const number = (value: number | null | undefined, unit: string) =>
  value === null || value === undefined ? <span class="quiet">none</span> : <span class="number">{value.toFixed(1)} {unit}</span>

const COLUMNS: readonly Column<Row>[] = [
  { key: 'id', title: 'Instance', width: 'minmax(9rem, 2fr)', by: (row) => row.id, cell: (row) => <span class="two-lines"><strong>{row.id}</strong><small class="narrow-only">{row.service}</small></span> },
  { key: 'service', title: 'Service', width: 'minmax(7rem, 1fr)', wideOnly: true, by: (row) => row.service, cell: (row) => row.service },
  { key: 'status', title: 'State', width: '7.5rem', by: (row) => row.status, cell: (row) => <Badge state={row.status} /> },
  { key: 'health', title: 'Health', width: '7.5rem', by: (row) => row.health, cell: (row) => <Badge state={row.health} /> },
  { key: 'restarts', title: 'Restarts', width: '6.5rem', wideOnly: true, align: 'end', by: (row) => row.restart_count, cell: (row) => <span class="number">{row.restart_count}</span> },
  { key: 'up', title: 'Up since', width: '8rem', wideOnly: true, by: (row) => row.since, cell: (row) => (row.since === null ? <span class="quiet">none</span> : <Ago at={row.since} />) },
  { key: 'memory', title: 'Memory', width: '7rem', wideOnly: true, align: 'end', by: (row) => row.usage?.memory_mb, cell: (row) => number(row.usage?.memory_mb, 'MiB') },
  { key: 'cpu', title: 'CPU', width: '6rem', wideOnly: true, align: 'end', by: (row) => row.usage?.cpu_percent, cell: (row) => number(row.usage?.cpu_percent, '%') },
]

function matches({ instance, status, health }: InstanceLine, search: string, state: string): boolean {
  return instance.toLowerCase().includes(search.toLowerCase()) && (state === '' || status === state || health === state)
}

export function InstanceTable() {
  const instances = useInstances()
  const usage = useMeasured(isPast.value ? null : 'usage', readUsage, ({ every }) => every).data?.of
  const { query } = place.value
  const [search, state] = [query.get('search') ?? '', query.get('state') ?? '']
  const all = useMemo(() => {
    const now = Date.now()
    const used = isPast.value ? undefined : usage
    return (instances.data ?? []).map((line): Row => ({ ...line, usage: used?.get(line.instance), since: line.uptime_ms ? new Date(now - line.uptime_ms).toISOString() : null }))
  }, [instances.data, usage, isPast.value])
  const rows = useMemo(() => all.filter((row) => matches(row, search, state)), [all, search, state])
  return (
    <div class="page fills">
      <div class="page-head">
        <h1>Instances</h1>
        <p class="quiet" role="status">{instances.data && (rows.length === all.length ? `${all.length}` : `${rows.length} of ${all.length}`)}</p>
        <div class="tools">
          <input type="search" aria-label="Search instances" placeholder="Search  /" value={search} onInput={(event) => note({ search: event.currentTarget.value })} />
          <select aria-label="State" value={state} onChange={(event) => note({ state: event.currentTarget.value })}>
            <option value="">All states</option>
            {STATES.map((name) => <option key={name} value={name}>{name}</option>)}
          </select>
        </div>
      </div>
      {instances.isLoading && <Loading what="instances" />}
      {instances.error !== undefined && <Failed error={instances.error} />}
      {instances.data && (
        <Table
          label="Instances"
          rows={rows}
          columns={COLUMNS}
          keyOf={(row) => row.instance}
          onOpen={(row) => go(`/instances/${encodeURIComponent(row.service)}/${encodeURIComponent(row.id)}`)}
          order={{ column: 'service', isDown: false }}
          empty={all.length === 0
            ? <Empty title="No instances"><p>Tenants that are deployed have a frontend and a backend here.</p></Empty>
            : <Empty title="No instance matches"><button type="button" onClick={() => note({ search: null, state: null })}>Show all</button></Empty>}
        />
      )}
    </div>
  )
}
