// The API's objects that a tenant's page and the pages of the control plane use.
import type { Actor, HealthStatus, Role, TenantLine } from './types'

export type Certificate = { domain: string; issuer: string; not_after: string }
export type Tenant = TenantLine & {
  directory: string
  github_repo: string | null
  notes: string | null
  certificate?: Certificate
}
export type TenantChanges = {
  name?: string
  domain?: string
  api_domain?: string | null
  github_repo?: string | null
  notes?: string | null
}

type Probe = { status: string; response_time_ms: number | null; status_code: number | null }
export type HealthReport = {
  overall_status: HealthStatus
  checks: {
    frontend: Probe
    backend: Probe
    database: { status: string; size_mb: number | null; connections: number | null }
    services: { frontend_service: string; backend_service: string }
  }
  last_check: string | null
}

export type RemoteStats = Record<string, number | undefined>
export type PersonsCount = { total: number; by_status?: Record<string, number> }

export type StepStatus = 'pending' | 'running' | 'success' | 'failed' | 'skipped' | 'cancelled' | 'rolled_back'
export type Step = { name: string; status: StepStatus; duration?: number; started?: string; detail?: string }
export type Deployment = {
  id: string
  tenant_id: string
  status: 'pending' | 'running' | 'success' | 'failed' | 'cancelled'
  current_step: string | null
  steps: Step[]
  release: number
  rollback: boolean
  git_ref: string | null
  logs?: string
  started_at: string
  finished_at: string | null
}
export type DeploymentList = { deployments: Deployment[]; total: number }
export type Requested = { deployment_id: string }
export type Release = {
  release: number
  deployment_id: string
  commit: string | null
  created_at: string
  current: boolean
  status: 'prepared' | 'healthy' | 'failed'
}
export type ReleaseList = { releases: Release[]; total: number }

export const CONFIG_FIELDS = [
  'app_name', 'app_name_short', 'project_name', 'admin_email', 'frontend_url', 'backend_api_url', 'ws_base_url',
  'ollama_embed_model', 'ollama_llm_model', 'ollama_base_url',
] as const
export type ConfigField = (typeof CONFIG_FIELDS)[number]
export type TenantConfig = Record<ConfigField, string> & { custom_env: Record<string, string>; secret_env: string[] }

export const COLOR_FIELDS = ['primary_color', 'secondary_color', 'accent_color', 'text_color', 'sidebar_color'] as const
export type ColorField = (typeof COLOR_FIELDS)[number]
export type Colors = Record<ColorField, string>
export const LOGO_FIELDS = ['logo_full', 'logo_cropped', 'logo_icon', 'logo_name'] as const
export type LogoField = (typeof LOGO_FIELDS)[number]
export type Theme = Colors & Record<LogoField, string | null> & { ai_generated: boolean; source_website: string | null; warnings: string[] }
export type Suggestion = {
  id: string
  name: string
  description: string
  reasoning: string
  primary_color: string
  secondary_color: string
  accent_color: string
  text_color: string
}
export type Analysis = {
  analysis_id: string
  status: 'processing' | 'complete' | 'failed'
  website_url: string
  error: string | null
  notes: string[]
  suggestions: Suggestion[]
}

export type Change = { field: string; from: unknown; to: unknown }
export type HistoryEntry = { seq: number; at: string; actor: Actor; kind: string; changes: Change[] }
export type TenantHistory = { history: HistoryEntry[]; next_seq: number | null }

export type Setting = {
  key: string
  value: string | null
  value_type: 'integer' | 'string'
  description: string
  is_secret: boolean
  updated_at: string | null
}
export type Account = {
  id: string
  username: string
  email: string
  role: Role
  disabled: boolean
  tenant_ids: string[] | null
  created_at: string
}
export type TokenScope = 'all' | { tenant: string } | { service: string } | { tenants: string[] }
export type Token = {
  id: string
  name: string | null
  role: Role
  scope: TokenScope
  created_at: string
  expires_at: string | null
  last_used: string | null
}
export type CreatedToken = { id: string; name: string; token: string; expires_at: string | null }
export type Site = { domain: string; path: string; type: string; tenant_id: string | null; enabled: boolean; managed: boolean }
export type Stranger = { port: number; pid: number | null; program: string | null }
export type Allocation = {
  frontend_port: number
  backend_port: number
  tenant_id: string | null
  tenant_name?: string
  allocated_at?: string
  status: 'available' | 'unavailable' | 'in_use'
  drift?: Stranger[]
}
export type PortList = { allocations: Allocation[]; available_count: number; in_use_count: number }
