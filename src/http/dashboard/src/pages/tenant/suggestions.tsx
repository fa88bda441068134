// Themes that were thought of for a website, side by side.
import { useSignal } from '@preact/signals'
import { write } from '../../api/client'
import { may } from '../../api/may'
import type { Analysis, AnalysisWanted, ChosenSuggestion, Colors, Suggestion, Tenant, Theme } from '../../api/types'
import { Badge } from '../../kit/badge'
import { SaveButton, WriteButton } from '../../kit/button'
import { Check } from '../../kit/check'
import { address } from '../../kit/checks'
import { Field, FormMistake, focusMistake, useForm } from '../../kit/form'
import { Empty, Failed } from '../../kit/states'
import { say } from '../../kit/toast'
import { useLive } from '../../live/use'
import { Preview } from './preview'

type SuggestionsProps = { tenant: Tenant; base: Colors; theme: Theme; analysis: string | undefined; onTry: (suggestion: Suggestion) => void }

export function Suggestions({ tenant, base, theme, analysis, onTry }: SuggestionsProps) {
  // Before the first analysis there is nothing to ask for.
  const { data, error } = useLive<Analysis>(analysis === undefined ? null : `/api/tenants/${tenant.id}/theme/suggestions?analysis_id=${analysis}`)
  const apply = async (suggestion: Suggestion): Promise<void> => {
    await write('POST', `/api/tenants/${tenant.id}/theme/apply-suggestion`, { suggestion_id: suggestion.id } satisfies ChosenSuggestion)
    say(`“${suggestion.name}” was applied.`)
  }
  return (
    <section class="panel" aria-labelledby="suggestions">
      <header><h2 id="suggestions">Suggestions</h2>{data && <Badge state={data.status === 'complete' ? 'success' : data.status} label={data.status} />}</header>
      {may('operator') && <Analyze id={tenant.id} known={data?.website_url ?? theme.source_website ?? ''} />}
      {error !== undefined && <Failed error={error} />}
      {analysis === undefined && <Empty title="No website was analysed yet" />}
      {data && <p class="panel-note quiet any-text">Of {data.website_url}</p>}
      {data?.error !== null && data?.error !== undefined && <p class="form-mistake panel-note any-text">{data.error}</p>}
      {data?.notes.map((text) => <p key={text} class="quiet panel-note any-text">{text}</p>)}
      <ul class="suggestions">
        {data?.suggestions.map((it) => (
          <li key={it.id}>
            <Preview colors={{ ...base, ...it }} name={tenant.name} label={`The site as “${it.name}”`} />
            <div>
              <h3 class="any-text">{it.name}</h3>
              <p class="any-text">{it.description}</p>
              <p class="quiet any-text">{it.reasoning}</p>
              <div class="row-buttons">
                <WriteButton label={`Look at ${it.name}`} act={() => onTry(it)}>Look</WriteButton>
                <WriteButton label={`Apply ${it.name}`} act={() => apply(it)}>Apply</WriteButton>
              </div>
            </div>
          </li>
        ))}
      </ul>
    </section>
  )
}

function Analyze({ id, known }: { id: string; known: string }) {
  const form = useForm({ website_url: { value: known, check: address('http', 'https') } })
  const picture = useSignal(true)
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault()
    const element = event.currentTarget as HTMLFormElement
    const isDone = await form.submit(async () => {
      const body: AnalysisWanted = { website_url: form.text('website_url'), capture_screenshot: picture.value }
      await write('POST', `/api/tenants/${id}/theme/analyze`, body)
      say('The website is being looked at.')
    })
    if (!isDone) focusMistake(element)
  }
  return (
    <form class="panel-body analyze" onSubmit={(event) => void submit(event)} noValidate>
      <Field field={form.fields.website_url} label="Website" hint="Its colours are read and suggestions made of them." type="url" />
      <Check on={picture} label="With a picture of the page" />
      <FormMistake form={form} />
      <div class="row-buttons"><SaveButton isBusy={form.isBusy.value}>Analyse</SaveButton></div>
    </form>
  )
}
