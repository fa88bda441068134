// The API's objects, as far as pages use them. This is the one file that changes when types are
// generated from the OpenAPI document: each name here becomes an alias of a generated schema.

export type Role = 'admin' | 'operator' | 'viewer'
export type User = { id: string; username: string; email: string; role: Role }
export type Login = { access_token: string; token_type: string; user: User }

export type TenantStatus = 'pending' | 'deploying' | 'running' | 'stopped' | 'error'
export type HealthStatus = 'healthy' | 'degraded' | 'unhealthy' | 'unknown'

export type TenantLine = {
  id: string
  name: string
  slug: string
  domain: string
  api_domain: string | null
  status: TenantStatus
  health_status: HealthStatus
  frontend_port: number | null
  backend_port: number | null
  created_at: string
  deployed_at: string | null
}
export type TenantList = { tenants: TenantLine[]; total: number; limit: number; offset: number }

export type NewTenant = {
  name: string
  slug: string
  domain: string
  api_domain?: string
  frontend_port?: number
  backend_port?: number
  github_repo?: string
  notes?: string
}

export type InstanceStatus = 'starting' | 'running' | 'stopping' | 'idle' | 'backoff' | 'failed' | 'stopped'
export type InstanceLine = {
  instance: string
  service: string
  id: string
  socket: string | null
  status: InstanceStatus
  uptime_ms: number | null
  health: string
  restart_count: number
  weight: number
}
export type Pagination = { limit: number; offset: number; total: number; has_more: boolean }
export type InstanceList = { instances: InstanceLine[]; pagination: Pagination }

export type Actor = { type: 'user' | 'token' | 'system'; id: string | null; name: string | null }
export type Event = {
  seq: number
  id: string
  at: string
  kind: string
  actor: Actor
  tenant_id: string | null
  instance: string | null
  command_id: string
  caused_by: number | null
  data: Record<string, unknown>
}
export type EventList = { events: Event[]; next_seq: number | null; head_seq: number }

/** A line of the control plane's own log: `GET /api/logs?source=control`. */
export type ControlLine = {
  id: string
  tenant_id: string | null
  level: 'info' | 'warning' | 'error' | 'critical'
  category: string
  message: string
  created_at: string
}
export type ControlLog = { logs: ControlLine[]; total: number }

export type Why = { state: string; since: string; sentence: string }
