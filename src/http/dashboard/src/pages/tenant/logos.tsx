// A theme's logos. They are shown as pictures and never opened as pages, so that an SVG runs nothing.
import { useSignal } from '@preact/signals'
import { useEffect, useId } from 'preact/hooks'
import { ask, address, authorized, write } from '../../api/client'
import { may } from '../../api/may'
import { messageOf } from '../../api/problem'
import { LOGO_FIELDS, type LogoField, type Theme } from '../../api/types'
import { WriteButton } from '../../kit/button'
import { say } from '../../kit/toast'
import { asOf, isPast } from '../../live/moment'

const LABELS: Record<LogoField, string> = { logo_full: 'Full', logo_cropped: 'Cropped', logo_icon: 'Icon', logo_name: 'Name' }
const TAKEN = 'image/png,image/jpeg,image/webp,image/svg+xml'

/** The picture as a `blob:` address; the API wants a token, which an `<img>` cannot send. */
function useLogo(id: string, field: LogoField, isThere: boolean, revision: number): string | undefined {
  const url = useSignal<string | undefined>(undefined)
  const moment = asOf.value
  useEffect(() => {
    url.value = undefined
    if (!isThere) return
    const stop = new AbortController()
    let made = ''
    const path = address(`/api/tenants/${id}/theme/logos/${field.replace('logo_', '')}`)
    ask(path, { headers: authorized(), signal: stop.signal }).then((response) => response.blob()).then(
      (blob) => {
        if (stop.signal.aborted) return
        made = URL.createObjectURL(blob)
        url.value = made
      },
      () => undefined,
    )
    return () => {
      stop.abort()
      if (made !== '') URL.revokeObjectURL(made)
    }
  }, [id, field, isThere, revision, moment])
  return url.value
}

type LogosProps = { id: string; theme: Theme; revision: number; onShown: (url: string | undefined) => void }

export function Logos({ id, theme, revision, onShown }: LogosProps) {
  return (
    <section class="panel" aria-labelledby="logos">
      <header><h2 id="logos">Logos</h2><span class="quiet">PNG, JPEG, WebP or SVG</span></header>
      <ul class="logos">
        {LOGO_FIELDS.map((field) => (
          <Logo key={field} id={id} field={field} isThere={theme[field] !== null} revision={revision} onShown={field === 'logo_full' ? onShown : undefined} />
        ))}
      </ul>
    </section>
  )
}

type LogoProps = { id: string; field: LogoField; isThere: boolean; revision: number; onShown: ((url: string | undefined) => void) | undefined }

function Logo({ id, field, isThere, revision, onShown }: LogoProps) {
  const input = useId()
  const mistake = useSignal('')
  const isBusy = useSignal(false)
  const url = useLogo(id, field, isThere, revision)
  useEffect(() => onShown?.(url), [url])
  const send = async (file: File | string): Promise<void> => {
    mistake.value = ''
    isBusy.value = true
    try {
      const body = new FormData()
      body.set(field, file)
      await write('PUT', `/api/tenants/${id}/theme`, body)
      say(typeof file === 'string' ? 'The logo was taken away.' : 'The logo was saved and applied.')
    } catch (error) {
      mistake.value = messageOf(error)
    } finally {
      isBusy.value = false
    }
  }
  const name = LABELS[field]
  return (
    <li class="logo">
      <div class="logo-frame">{url === undefined ? <span class="quiet">none</span> : <img src={url} alt={`${name} logo`} />}</div>
      <div class="logo-side">
        <label for={input}>{name}</label>
        {may('operator') && (
          <input
            id={input}
            type="file"
            accept={TAKEN}
            disabled={isBusy.value || isPast.value}
            aria-describedby={`${input}-note`}
            onChange={(event) => {
              const element = event.currentTarget
              const file = element.files?.[0]
              if (file) void send(file).finally(() => (element.value = ''))
            }}
          />
        )}
        <p id={`${input}-note`} class="note wrong-note" aria-live="polite">{mistake.value}</p>
        {isThere && <WriteButton label={`Take away the ${name.toLowerCase()} logo`} act={() => send('')}>Take away</WriteButton>}
      </div>
    </li>
  )
}
