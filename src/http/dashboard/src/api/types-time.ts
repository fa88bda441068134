// What the API says of time, proofs and measurements, as far as pages use it. As `types.ts`: aliases of generated schemas later.
import type { Event, InstanceLine, Pagination } from './types'

export type Checkpoint = { origin: string; tree_size: number; root_hash: string; note: string; public_key: string }
export type JournalStats = { head_seq: number; root: string; events: number; first_at: string; last_at: string; checkpoint: Checkpoint }
export type InclusionProof = {
  tree_size: number
  leaf_index: number
  leaf_hash: string
  inclusion_path: string[]
  root_hash: string
  checkpoint: Checkpoint
}

export type Change = { field: string; from: unknown; to: unknown }
export type Difference = { tenant_id: string; from_seq: number; to_seq: number; changes: Change[] }
export type Part = 'details' | 'config' | 'theme' | 'ports' | 'release'
export type Conflict = { field: string; wanted: string | number; held_by: string | null; resolution: string | number | null }
export type Restored = {
  tenant_id: string
  restored_to_seq: number
  changes: Change[]
  conflicts: Conflict[]
  not_restored: { field: string; reason: string }[]
  deployment_id: string | null
  complete: boolean
  seq: number | null
}

export type ExplainedEvent = Event & { causes: Event[]; effects: Event[] }

export type InstanceDetails = InstanceLine & {
  created_at: string
  last_health_check: string | null
  last_exit?: { at: string; reason: string }
  limits?: { without_effect: string[] } & Record<string, unknown>
}
export type InstanceMetrics = {
  uptime_seconds: number
  memory_mb: number
  cpu_percent: number
  requests_total: number
  requests_per_second: number
  errors_total: number
  error_rate: number
  health_checks: { total: number; passed: number; failed: number }
  processes: number
}
export type Sample = { at: string; memory_mb: number | null; cpu_percent: number | null; requests: number; errors: number }
export type MetricsHistory = { instance: string; interval_seconds: number; samples: Sample[] }

export type OutputLine = { timestamp: string; instance: string; level: string; message: string }
export type OutputPage = { logs: OutputLine[]; pagination: Pagination }
export type FoundLine = OutputLine & { highlights: { start: number; end: number }[] }
export type FoundLines = { results: FoundLine[]; total: number; indexing?: boolean }
