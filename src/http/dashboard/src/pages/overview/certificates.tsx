// The certificates that end first.
import type { Fleet } from '../../api/types'
import { At } from '../../kit/time'
import { href } from '../../shell/router'

const SHOWN = 5

export function Certificates({ certificates }: { certificates: Fleet['certificates'] | undefined }) {
  const ends = certificates?.first.filter((it) => it.not_after !== null) ?? []
  if (ends.length === 0) return null
  return (
    <section class="panel" aria-labelledby="certificates">
      <header><h2 id="certificates">Certificates that end first</h2><span class="quiet">of {certificates?.total}</span></header>
      <ul class="lines">
        {ends.slice(0, SHOWN).map((it) => (
          <li key={it.tenant_id}>
            <div class="line-head"><a href={href(`/tenants/${it.tenant_id}`)}>{it.domain ?? it.name}</a>{it.not_after !== null && <At at={it.not_after} />}</div>
            {it.renews_at !== null && <p class="quiet">is renewed on <At at={it.renews_at} /></p>}
          </li>
        ))}
      </ul>
    </section>
  )
}
