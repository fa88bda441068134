// One tenant: its state and what can be done with it, in tabs. The address names it by id or by slug.
import { ApiError } from '../api/problem'
import type { FleetTenants, Tenant } from '../api/types'
import { Badge } from '../kit/badge'
import { Empty, Failed, Loading } from '../kit/states'
import { Tabs } from '../kit/tabs'
import { isPast } from '../live/moment'
import { useLive } from '../live/use'
import { href, note, place } from '../shell/router'
import { Actions } from './tenant/actions'
import { Config } from './tenant/config'
import { Deployments } from './tenant/deployments'
import { History } from './tenant/history'
import { Logs } from './tenant/logs'
import { Overview } from './tenant/overview'
import { ThemeTab } from './tenant/theme'

const TABS = [
  { key: 'overview', title: 'Overview' },
  { key: 'deployments', title: 'Deployments' },
  { key: 'config', title: 'Configuration' },
  { key: 'theme', title: 'Theme' },
  { key: 'logs', title: 'Logs' },
  { key: 'history', title: 'History' },
] as const
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

export function TenantPage({ known }: { known: string }) {
  return UUID.test(known) ? <Shown key={known} id={known} /> : <BySlug key={known} slug={known} />
}

function BySlug({ slug }: { slug: string }) {
  const tenants = useLive<FleetTenants>(`/api/fleet/tenants?named=${encodeURIComponent(slug)}`)
  const [found] = tenants.data?.tenants ?? []
  if (found) return <Shown key={found.id} id={found.id} />
  if (tenants.error !== undefined) return <Frame><Failed error={tenants.error} /></Frame>
  if (tenants.data === undefined) return <Frame><Loading what="the tenant" /></Frame>
  return <Frame><None /></Frame>
}

function Frame({ children }: { children: preact.ComponentChildren }) {
  return <div class="page"><h1>Tenant</h1>{children}</div>
}

function None() {
  return (
    <Empty title={isPast.value ? 'There was no such tenant then' : 'There is no such tenant'}>
      <a href={href('/tenants')}>To the tenants</a>
    </Empty>
  )
}

function Panel({ tab, tenant }: { tab: string; tenant: Tenant }) {
  switch (tab) {
    case 'deployments': return <Deployments tenant={tenant} />
    case 'config': return <Config id={tenant.id} />
    case 'theme': return <ThemeTab tenant={tenant} />
    case 'logs': return <Logs id={tenant.id} />
    case 'history': return <History id={tenant.id} />
    default: return <Overview tenant={tenant} />
  }
}

function Shown({ id }: { id: string }) {
  const { data: tenant, error } = useLive<Tenant>(`/api/tenants/${id}`)
  const asked = place.value.query.get('tab') ?? ''
  const tab = TABS.find(({ key }) => key === asked)?.key ?? 'overview'
  if (error instanceof ApiError && error.status === 404) {
    // What became of it can be read for ever.
    return <Frame><None /><section class="panel"><header><h2>What became of it</h2></header><History id={id} isGone /></section></Frame>
  }
  if (error !== undefined) return <Frame><Failed error={error} /></Frame>
  if (tenant === undefined) return <Frame><Loading what="the tenant" /></Frame>
  return (
    <div class={tab === 'logs' ? 'page fills' : 'page'}>
      <div class="page-head tenant-head">
        <p class="crumb"><a href={href('/tenants')}>Tenants</a></p>
        <h1>{tenant.name}</h1>
        <div class="states"><Badge state={tenant.status} /><Badge state={tenant.health_status} /></div>
        <Actions tenant={tenant} />
      </div>
      <Tabs tabs={TABS} open={tab} onOpen={(key) => note({ tab: key === 'overview' ? null : key, deployment: null })} label="Parts of the tenant">
        <Panel tab={tab} tenant={tenant} />
      </Tabs>
    </div>
  )
}
