// Releases that are kept, and the way back to one.
import { useSignal } from '@preact/signals'
import { write } from '../../api/client'
import type { Release, ReleaseList, Requested, RollbackWanted, Tenant } from '../../api/types'
import { Badge } from '../../kit/badge'
import { WriteButton } from '../../kit/button'
import { Confirm } from '../../kit/dialog'
import { Empty, Failed, Loading } from '../../kit/states'
import { Ago } from '../../kit/time'
import { useLive } from '../../live/use'

const COMMIT_SHOWN = 10

type ReleasesProps = { tenant: Tenant; onBegun: (deployment: string) => void }

export function Releases({ tenant, onBegun }: ReleasesProps) {
  const { data, error } = useLive<ReleaseList>(`/api/tenants/${tenant.id}/releases?limit=50`)
  const wanted = useSignal<Release | null>(null)
  const back = async (release: number): Promise<void> => {
    const { body } = await write<Requested>('POST', `/api/tenants/${tenant.id}/rollback`, { release } satisfies RollbackWanted)
    onBegun(body.deployment_id)
  }
  return (
    <section class="panel" aria-labelledby="releases">
      <header><h2 id="releases">Releases</h2></header>
      {error !== undefined && <Failed error={error} />}
      {data === undefined && error === undefined && <Loading what="releases" />}
      {data?.releases.length === 0 && <Empty title="None yet" />}
      <ul class="lines">
        {data?.releases.map((it) => (
          <li key={it.release} class="release">
            <span class="two-lines">
              <strong>Release {it.release}</strong>
              <small><Ago at={it.created_at} />{it.commit !== null && <>, <code title={it.commit}>{it.commit.slice(0, COMMIT_SHOWN)}</code></>}</small>
            </span>
            {it.current
              ? <Badge state="active" label="serves" />
              : it.status === 'healthy'
                ? <WriteButton act={() => (wanted.value = it)} label={`Roll back to release ${it.release}`}>Roll back</WriteButton>
                : <Badge state={it.status} />}
          </li>
        ))}
      </ul>
      {wanted.value !== null && (
        <Confirm title={`Roll back to release ${wanted.value.release}`} verb="Roll back" act={() => back(wanted.value?.release ?? 0)} onClose={() => (wanted.value = null)}>
          <p>What serves now goes on until release {wanted.value.release} is healthy. The database is not taken back.</p>
        </Confirm>
      )}
    </section>
  )
}
