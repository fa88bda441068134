// A tenant's theme: its colours with what they look like, its logos, and suggestions from a website.
import { useSignal } from '@preact/signals'
import { useRef } from 'preact/hooks'
import { COLOR_FIELDS, type Colors, type EventList, type Suggestion, type Tenant, type Theme } from '../../api/types'
import { Failed, Loading } from '../../kit/states'
import { useLive } from '../../live/use'
import { ColorForm } from './colors'
import { useEditable } from './editable'
import { Logos } from './logos'
import { Suggestions } from './suggestions'

/** Enough to hold the last analysis and the last change. */
const LOOKED_AT = 200

export function ThemeTab({ tenant }: { tenant: Tenant }) {
  const theme = useLive<Theme>(`/api/tenants/${tenant.id}/theme`)
  // They tell which analysis was the last, and when a logo became another under the same name.
  const events = useLive<EventList>(`/api/events?tenant_id=${tenant.id}&kind=theme.&order=desc&limit=${LOOKED_AT}`)
  if (theme.error !== undefined) return <Failed error={theme.error} />
  if (theme.data === undefined) return <Loading what="the theme" />
  const all = events.data?.events ?? []
  const revision = all.find(({ kind }) => kind === 'theme.updated')?.seq ?? 0
  const analysis = all.find(({ kind }) => kind === 'theme.analysis_requested')?.data['analysis_id']
  return <Editor tenant={tenant} theme={theme.data} revision={revision} analysis={typeof analysis === 'string' ? analysis : undefined} />
}

const colorsOf = (from: Colors): Colors => Object.fromEntries(COLOR_FIELDS.map((field) => [field, from[field]])) as Colors

type EditorProps = { tenant: Tenant; theme: Theme; revision: number; analysis: string | undefined }

function Editor({ tenant, theme, revision, analysis }: EditorProps) {
  const touched = useRef(false)
  const { base, version, isStale, take, settle } = useEditable(colorsOf(theme), touched)
  const tried = useSignal<{ colors: Colors; count: number } | null>(null)
  const logo = useSignal<string | undefined>(undefined)
  const attempt = (suggestion: Suggestion): void => {
    const colors = { ...colorsOf({ ...base, ...suggestion }), sidebar_color: base.sidebar_color }
    tried.value = { colors, count: (tried.value?.count ?? 0) + 1 }
  }
  return (
    <div class="panels">
      <div class="stack">
        {isStale && <p class="banner busy" role="status">Somebody changed the colours meanwhile. <button type="button" onClick={take}>Take theirs and lose mine</button></p>}
        <ColorForm
          key={version}
          tenant={tenant}
          base={base}
          touched={touched}
          tried={tried.value}
          logo={logo.value}
          onSaved={(saved) => { tried.value = null; settle(colorsOf(saved)) }}
        />
        <Logos id={tenant.id} theme={theme} revision={revision} onShown={(url) => (logo.value = url)} />
      </div>
      <Suggestions tenant={tenant} base={base} theme={theme} analysis={analysis} onTry={attempt} />
    </div>
  )
}
