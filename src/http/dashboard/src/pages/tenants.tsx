// Every tenant: search, filter, sort, create.
import { useSignal } from '@preact/signals'
import { useMemo } from 'preact/hooks'
import type { PageProps } from '../pages'
import type { TenantLine } from '../api/types'
import { Badge } from '../kit/badge'
import { WriteButton } from '../kit/button'
import { Empty, Failed, Loading } from '../kit/states'
import { type Column, Table } from '../kit/table'
import { Ago } from '../kit/time'
import { useTenants } from '../live/tenants'
import { go, note, place } from '../shell/router'
import { TenantPage } from './tenant'
import { CreateTenant } from './tenants/create'
import { STATES, matching } from './tenants/filter'

const COLUMNS: readonly Column<TenantLine>[] = [
  {
    key: 'name', title: 'Name', width: 'minmax(11rem, 2fr)', by: (tenant) => tenant.name,
    cell: (tenant) => <span class="two-lines"><strong>{tenant.name}</strong><small>{tenant.slug}</small></span>,
  },
  { key: 'status', title: 'State', width: '7.5rem', by: (tenant) => tenant.status, cell: (tenant) => <Badge state={tenant.status} /> },
  {
    key: 'health', title: 'Health', width: '7.5rem', by: (tenant) => tenant.health_status,
    cell: (tenant) => <Badge state={tenant.health_status} />,
  },
  { key: 'domain', title: 'Domain', width: 'minmax(10rem, 2fr)', wideOnly: true, by: (tenant) => tenant.domain, cell: (tenant) => tenant.domain },
  {
    key: 'ports', title: 'Ports', width: '8.5rem', wideOnly: true, by: (tenant) => tenant.frontend_port,
    cell: ({ frontend_port: front, backend_port: back }) => <span class="number">{front === null ? 'none' : `${front} / ${back ?? 'none'}`}</span>,
  },
  {
    key: 'deployed', title: 'Deployed', width: '8rem', wideOnly: true, by: (tenant) => tenant.deployed_at,
    cell: (tenant) => (tenant.deployed_at === null ? <span class="quiet">never</span> : <Ago at={tenant.deployed_at} />),
  },
  { key: 'created', title: 'Created', width: '8rem', wideOnly: true, by: (tenant) => tenant.created_at, cell: (tenant) => <Ago at={tenant.created_at} /> },
]

export function Tenants({ rest }: PageProps) {
  const [known] = rest
  return known === undefined ? <TenantList /> : <TenantPage known={known} />
}

function TenantList() {
  const tenants = useTenants()
  const isCreating = useSignal(false)
  const { query } = place.value
  const [search, state] = [query.get('search') ?? '', query.get('state') ?? '']
  const all = tenants.data ?? []
  const rows = useMemo(() => matching(all, search, state), [tenants.data, search, state])
  return (
    <div class="page fills">
      <div class="page-head">
        <h1>Tenants</h1>
        <p class="quiet" role="status">{tenants.data && (rows.length === all.length ? `${all.length}` : `${rows.length} of ${all.length}`)}</p>
        <div class="tools">
          <input type="search" aria-label="Search tenants" placeholder="Search  /" value={search} onInput={(event) => note({ search: event.currentTarget.value })} />
          <select aria-label="State" value={state} onChange={(event) => note({ state: event.currentTarget.value })}>
            <option value="">All states</option>
            {STATES.map((name) => <option key={name} value={name}>{name}</option>)}
          </select>
          <WriteButton tone="primary" act={() => (isCreating.value = true)}>Create tenant</WriteButton>
        </div>
      </div>
      {tenants.isLoading && <Loading what="tenants" />}
      {tenants.error !== undefined && <Failed error={tenants.error} />}
      {tenants.data && (
        <Table
          label="Tenants"
          rows={rows}
          columns={COLUMNS}
          keyOf={(tenant) => tenant.id}
          order={{ column: 'name', isDown: false }}
          onOpen={(tenant) => go(`/tenants/${tenant.slug}`)}
          empty={all.length === 0
            ? <Empty title="No tenants yet"><p>A tenant is one customer's own copy of the application.</p></Empty>
            : <Empty title="No tenant matches"><button type="button" onClick={() => note({ search: null, state: null })}>Show all</button></Empty>}
        />
      )}
      {isCreating.value && <CreateTenant onClose={() => (isCreating.value = false)} />}
    </div>
  )
}
