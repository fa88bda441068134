// nginx: the sites that it could serve, its own test, and having it read them again.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { get, write } from '../api/client'
import { ApiError, messageOf } from '../api/problem'
import type { Site, SiteList, SitesReload, SitesTest } from '../api/types'
import { Badge } from '../kit/badge'
import { WriteButton } from '../kit/button'
import { Empty, Failed, Loading } from '../kit/states'
import { type Column, Table } from '../kit/table'
import { say } from '../kit/toast'
import { follow } from '../live/feed'
import { useNames } from '../live/names'
import { isPast } from '../live/moment'
import { href } from '../shell/router'

/** Events after which files may be others. A burst of them is one reading. */
const REREAD_MS = 2000
const TOUCH = /^(site|tenant|deployment|certificate|nginx)\./

export function Nginx() {
  const sites = useSignal<readonly Site[] | undefined>(undefined)
  const error = useSignal<unknown>(undefined)
  const tested = useSignal<SitesTest | null>(null)
  const hasPast = isPast.value
  useEffect(() => {
    if (hasPast) return
    const stop = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    const read = (): void => {
      timer = undefined
      get<SiteList>('/api/nginx/configs', { now: true, signal: stop.signal }).then(
        ({ configs }) => {
          sites.value = configs
          error.value = undefined
        },
        (refusal: unknown) => stop.signal.aborted || (error.value = refusal),
      )
    }
    read()
    const unfollow = follow((events) => {
      if (events.some(({ kind }) => TOUCH.test(kind))) timer ??= setTimeout(read, REREAD_MS)
    })
    return () => {
      stop.abort()
      clearTimeout(timer)
      unfollow()
    }
  }, [hasPast])
  const test = async (): Promise<void> => void (tested.value = (await write<SitesTest>('POST', '/api/nginx/test')).body)
  const reload = async (): Promise<void> => {
    try {
      say((await write<SitesReload>('POST', '/api/nginx/reload')).body.message)
      tested.value = null
    } catch (refusal) {
      // What nginx says is too long for a notice.
      const output = refusal instanceof ApiError ? refusal.problem.more['output'] : undefined
      if (typeof output !== 'string') throw refusal
      tested.value = { valid: false, output: `${messageOf(refusal)}\n${output}` }
    }
  }
  const names = useNames(sites.value?.map((site) => site.tenant_id) ?? [])
  const columns: readonly Column<Site>[] = [
    { key: 'domain', title: 'Domain', width: 'minmax(9rem, 1.2fr)', by: (site) => site.domain, cell: (site) => <strong>{site.domain}</strong> },
    { key: 'type', title: 'Serves', width: '6rem', by: (site) => site.type, cell: (site) => site.type },
    { key: 'enabled', title: 'State', width: '7rem', by: (site) => String(site.enabled), cell: (site) => <Badge state={site.enabled ? 'active' : 'stopped'} label={site.enabled ? 'enabled' : 'disabled'} /> },
    {
      key: 'tenant', title: 'Tenant', width: 'minmax(9rem, 1fr)', wideOnly: true, by: (site) => names.get(site.tenant_id ?? '') ?? null,
      cell: (site) => {
        const name = names.get(site.tenant_id ?? '')
        return name !== undefined ? <a href={href(`/tenants/${site.tenant_id}`)}>{name}</a> : <span class="quiet">{site.managed ? 'nobody' : 'not ours'}</span>
      },
    },
    { key: 'path', title: 'File', width: 'minmax(12rem, 2fr)', wideOnly: true, by: (site) => site.path, cell: (site) => <code title={site.path}>{site.path}</code> },
  ]
  return (
    <div class="page fills">
      <div class="page-head">
        <h1>NGINX</h1>
        <p class="quiet" role="status">{sites.value && `${sites.value.length} sites`}</p>
        <div class="tools">
          <WriteButton needs="viewer" act={test}>Test</WriteButton>
          <WriteButton tone="primary" act={reload}>Reload</WriteButton>
        </div>
      </div>
      {tested.value !== null && (
        <section class="panel" aria-labelledby="nginx-test">
          <header><h2 id="nginx-test">Test</h2><Badge state={tested.value.valid ? 'success' : 'failed'} label={tested.value.valid ? 'valid' : 'not valid'} /></header>
          <pre class="output" tabIndex={0}>{tested.value.output}</pre>
        </section>
      )}
      {hasPast && <Empty title="Files have no past"><p>The history of a tenant says when its sites were written.</p></Empty>}
      {!hasPast && error.value !== undefined && <Failed error={error.value} />}
      {!hasPast && sites.value === undefined && error.value === undefined && <Loading what="sites" />}
      {!hasPast && sites.value && (
        <Table label="Sites" rows={sites.value} columns={columns} keyOf={(site) => site.path} order={{ column: 'domain', isDown: false }} empty={<Empty title="No sites"><p>A deployment writes those of its tenant.</p></Empty>} />
      )}
    </div>
  )
}
