// The API's objects, under the names that pages use. `schema.d.ts` is made of the OpenAPI document (`npm run types`), so a field
// that changes there breaks the build here.
import type { components, operations } from './schema'

type Schemas = components['schemas']

export type Role = Schemas['Role']
export type User = Schemas['LoginUser']
export type Credentials = Schemas['Login']
export type Login = Schemas['LoggedIn']

export type TenantStatus = Schemas['TenantStatus']
export type TenantLine = Schemas['TenantSummary']
export type TenantList = Schemas['TenantList']
export type Tenant = Schemas['Tenant']
export type NewTenant = Schemas['NewTenant']
export type TenantChanges = Schemas['TenantChanges']
export type HealthReport = Schemas['TenantHealthReport']
export type RemoteStats = Schemas['RemoteStats']
export type PersonsCount = Schemas['PersonsCount']
export type RemoteBackup = Schemas['RemoteBackup']

/** The first message to a socket that has no requests of its own. */
export type SocketAuth = Schemas['SocketAuth']

export type Step = Schemas['DeploymentStep']
export type Deployment = Schemas['Deployment']
export type DeploymentList = Schemas['DeploymentList']
export type DeploymentMessage = Schemas['DeploymentMessage']
export type DeploySwitches = Schemas['DeploySwitches']
export type Requested = Schemas['RequestedDeployment']
export type Release = Schemas['Release']
export type ReleaseList = Schemas['ReleaseList']
export type RollbackWanted = Schemas['RollbackWanted']

export type TenantConfig = Schemas['TenantConfig']
export type TenantConfigChanges = Schemas['TenantConfigChanges']
export type RegeneratedEnv = Schemas['RegeneratedEnv']
// In the order in which forms show them, which a description does not have.
export const CONFIG_FIELDS = [
  'app_name', 'app_name_short', 'project_name', 'admin_email', 'frontend_url', 'backend_api_url', 'ws_base_url',
  'ollama_embed_model', 'ollama_llm_model', 'ollama_base_url',
] as const satisfies readonly (keyof TenantConfig & keyof TenantConfigChanges)[]
export type ConfigField = (typeof CONFIG_FIELDS)[number]

export type Theme = Schemas['Theme']
/** A form with files, which has no name of its own in the document. */
type ThemeForm = operations['updateTheme']['requestBody']['content']['multipart/form-data']
type ThemeField = keyof Theme & keyof ThemeForm
export const COLOR_FIELDS = ['primary_color', 'secondary_color', 'accent_color', 'text_color', 'sidebar_color'] as const satisfies readonly ThemeField[]
export type ColorField = (typeof COLOR_FIELDS)[number]
export type Colors = Pick<Theme, ColorField>
export const LOGO_FIELDS = ['logo_full', 'logo_cropped', 'logo_icon', 'logo_name'] as const satisfies readonly ThemeField[]
export type LogoField = (typeof LOGO_FIELDS)[number]
export type Suggestion = Schemas['ThemeSuggestion']
export type ChosenSuggestion = Schemas['ChosenSuggestion']
export type Analysis = Schemas['ThemeAnalysis']
export type AnalysisWanted = Schemas['AnalysisWanted']

export type InstanceLine = Schemas['InstanceSummary']
export type InstanceList = Schemas['InstanceList']
export type InstanceDetails = Schemas['Instance']
export type NewWeight = Schemas['NewWeight']
export type Sample = Schemas['MetricsSample']
export type MetricsHistory = Schemas['MetricsHistory']
export type Level = Schemas['LogLevel']
export type OutputLine = Schemas['LogLine']
export type OutputPage = Schemas['InstanceLogs']
export type OutputRequest = Schemas['LogStreamRequest']
export type OutputSearch = Schemas['LogSearch']
export type FoundLines = Schemas['SearchResults']

export type Fleet = Schemas['Fleet']
export type FleetDeployment = Schemas['FleetDeployment']
export type FleetCertificate = Schemas['FleetCertificate']
export type FleetTenants = Schemas['FleetTenants']
export type FleetUsage = Schemas['FleetUsage']
export type FleetSpace = Schemas['FleetSpace']
export type InstanceUsage = Schemas['InstanceUsage']

export type Event = Schemas['EventView']
export type EventList = Schemas['EventList']
export type ExplainedEvent = Schemas['ExplainedEvent']
export type FeedMessage = Schemas['FeedMessage']
export type FeedRequest = Schemas['FeedRequest']
export type Why = Schemas['Why']
/** What a write answers that is only tried: what it would record. */
export type DryRun = Schemas['DryRun']
export type Undone = Schemas['UndoneCommand']

export type JournalStats = Schemas['Journal']
export type InclusionProof = Schemas['InclusionProof']

export type Change = Schemas['Change']
export type Difference = Schemas['TenantDiff']
export type HistoryEntry = Schemas['HistoryEntry']
export type TenantHistory = Schemas['TenantHistory']
export type Part = Schemas['TenantPart']
export type RestoreWanted = Schemas['RestoreWanted']
export type Restored = Schemas['RestoredTenant']
export type Conflict = Schemas['RestoreConflict']
export type NotRestored = Schemas['NotRestored']

export type Setting = Schemas['Setting']
export type SettingList = Schemas['SettingList']
export type NewSetting = Schemas['NewSetting']
export type Account = Schemas['User']
export type AccountList = Schemas['UserList']
export type NewAccount = Schemas['NewUser']
export type AccountChanges = Schemas['UserChanges']
export type NewPassword = Schemas['NewPassword']
export type Token = Schemas['Token']
export type TokenList = Schemas['TokenList']
export type NewToken = Schemas['NewToken']
export type CreatedToken = Schemas['CreatedToken']
export type Site = Schemas['NginxConfig']
export type SiteList = Schemas['NginxConfigList']
export type SitesTest = Schemas['NginxTest']
export type SitesReload = Schemas['ReloadedNginx']
export type Stranger = Schemas['PortStranger']
export type Allocation = Schemas['PortAllocation']
export type PortList = Schemas['PortAllocationList']

/** A line of the control plane's own log: `GET /api/logs?source=control`. */
export type ControlLine = Schemas['ControlLogLine']
export type ControlLog = Schemas['ControlLog']
