// What a tenant is, and how it is.
import { useSignal } from '@preact/signals'
import type { Tenant } from '../../api/types'
import { WriteButton } from '../../kit/button'
import { Ago, At, duration } from '../../kit/time'
import { Edit } from './edit'
import { Health } from './health'
import { Remote } from './remote'
import { Why } from './why'

const DAY_MS = 86_400_000
/** A certificate is renewed long before; one that is not by then needs somebody. */
const SOON_MS = 14 * DAY_MS

function Certificate({ tenant }: { tenant: Tenant }) {
  const { certificate } = tenant
  if (certificate === undefined) return <span class="quiet">none</span>
  const left = Date.parse(certificate.not_after) - Date.now()
  const tone = left < 0 ? 'bad' : left < SOON_MS ? 'warn' : ''
  return (
    <>
      <span class={tone === '' ? '' : `word ${tone}`}>{left < 0 ? 'ended ' : `${duration(left).split(' ').slice(0, 2).join(' ')} left, until `}<At at={certificate.not_after} /></span>
      <small class="quiet">{certificate.domain}, by {certificate.issuer}</small>
    </>
  )
}

const site = (domain: string) => <a href={`https://${domain}/`} target="_blank" rel="noreferrer">{domain}</a>

function Facts({ tenant }: { tenant: Tenant }) {
  const isEditing = useSignal(false)
  return (
    <section class="panel" aria-labelledby="facts">
      <header><h2 id="facts">Details</h2><div class="panel-end"><WriteButton act={() => (isEditing.value = true)}>Edit</WriteButton></div></header>
      <dl class="facts">
        <div><dt>Slug</dt><dd><code>{tenant.slug}</code></dd></div>
        <div><dt>Domain</dt><dd>{site(tenant.domain)}</dd></div>
        <div><dt>API domain</dt><dd>{tenant.api_domain === null ? <span class="quiet">none</span> : site(tenant.api_domain)}</dd></div>
        <div><dt>Ports</dt><dd class="number">{tenant.frontend_port === null ? <span class="quiet">none</span> : `${tenant.frontend_port} frontend, ${tenant.backend_port ?? 'no'} backend`}</dd></div>
        <div><dt>Certificate</dt><dd><Certificate tenant={tenant} /></dd></div>
        <div><dt>Repository</dt><dd>{tenant.github_repo ?? <span class="quiet">none</span>}</dd></div>
        <div><dt>Directory</dt><dd><code>{tenant.directory}</code></dd></div>
        <div><dt>Deployed</dt><dd>{tenant.deployed_at === null ? <span class="quiet">never</span> : <Ago at={tenant.deployed_at} />}</dd></div>
        <div><dt>Created</dt><dd><At at={tenant.created_at} /></dd></div>
        <div><dt>Id</dt><dd><code>{tenant.id}</code></dd></div>
        <div><dt>Notes</dt><dd class="notes">{tenant.notes ?? <span class="quiet">none</span>}</dd></div>
      </dl>
      {isEditing.value && <Edit tenant={tenant} onClose={() => (isEditing.value = false)} />}
    </section>
  )
}

export function Overview({ tenant }: { tenant: Tenant }) {
  return (
    <>
      <Why tenant={tenant} />
      <div class="panels">
        <Facts tenant={tenant} />
        <div class="stack">
          <Health tenant={tenant} />
          <Remote tenant={tenant} />
        </div>
      </div>
    </>
  )
}
