// Tokens for programs. One is shown when it is created and never again.
import { useSignal } from '@preact/signals'
import { write } from '../api/client'
import type { CreatedToken, Token, TokenList } from '../api/types'
import { WriteButton } from '../kit/button'
import { Confirm } from '../kit/dialog'
import { Empty, Failed, Loading } from '../kit/states'
import { type Column, Table } from '../kit/table'
import { Ago, At } from '../kit/time'
import { say } from '../kit/toast'
import { useTenants } from '../live/tenants'
import { useLive } from '../live/use'
import { Once } from './access/once'
import { TokenForm } from './access/token-form'

const named = (token: Token): string => token.name ?? 'erased'

export function Tokens() {
  const { data, error } = useLive<TokenList>('/api/tokens?limit=1000')
  const tenants = useTenants()
  const isCreating = useSignal(false)
  const created = useSignal<CreatedToken | null>(null)
  const revoking = useSignal<Token | null>(null)
  const names = new Map(tenants.data?.map((tenant) => [tenant.id, tenant.name]))
  const reach = ({ scope }: Token): string => {
    if (scope === 'all') return 'all'
    if ('service' in scope) return `service ${scope.service}`
    const ids = 'tenant' in scope ? [scope.tenant] : scope.tenants
    return ids.map((id) => names.get(id) ?? id).join(', ')
  }
  const columns: readonly Column<Token>[] = [
    { key: 'name', title: 'Name', width: 'minmax(8rem, 1.4fr)', by: named, cell: (token) => <strong>{named(token)}</strong> },
    { key: 'role', title: 'Role', width: '6.5rem', by: (token) => token.role, cell: (token) => token.role },
    { key: 'scope', title: 'Reaches', width: 'minmax(8rem, 1fr)', wideOnly: true, by: reach, cell: reach },
    { key: 'used', title: 'Last used', width: '8rem', wideOnly: true, by: (token) => token.last_used, cell: (token) => (token.last_used === null ? <span class="quiet">never</span> : <Ago at={token.last_used} />) },
    { key: 'created', title: 'Created', width: '8rem', wideOnly: true, by: (token) => token.created_at, cell: (token) => <Ago at={token.created_at} /> },
    { key: 'ends', title: 'Ends', width: '11rem', wideOnly: true, by: (token) => token.expires_at, cell: (token) => (token.expires_at === null ? <span class="quiet">never</span> : <At at={token.expires_at} />) },
    { key: 'acts', title: '', width: '6rem', align: 'end', cell: (token) => <span class="cell-buttons"><WriteButton needs="admin" label={`Revoke ${named(token)}`} act={() => (revoking.value = token)}>Revoke</WriteButton></span> },
  ]
  const revoke = async (token: Token): Promise<void> => {
    await write('DELETE', `/api/tokens/${token.id}`)
    say(`${named(token)} was revoked.`)
  }
  const gone = revoking.value
  return (
    <div class="page fills">
      <div class="page-head">
        <h1>Tokens</h1>
        <p class="quiet" role="status">{data?.tokens.length}</p>
        <div class="tools"><WriteButton needs="admin" tone="primary" act={() => (isCreating.value = true)}>Create token</WriteButton></div>
      </div>
      {error !== undefined && <Failed error={error} />}
      {data === undefined && error === undefined && <Loading what="tokens" />}
      {data && <Table label="Tokens" rows={data.tokens} columns={columns} keyOf={(token) => token.id} order={{ column: 'created', isDown: true }} empty={<Empty title="No tokens"><p>A token lets a program use the API.</p></Empty>} />}
      {isCreating.value && <TokenForm tenants={tenants.data ?? []} onClose={() => (isCreating.value = false)} onCreated={(token) => (created.value = token)} />}
      {created.value !== null && <Once token={created.value} onClose={() => (created.value = null)} />}
      {gone !== null && (
        <Confirm title="Revoke token" name={named(gone)} verb="Revoke" act={() => revoke(gone)} onClose={() => (revoking.value = null)}>
          <p>Programs that use it are refused at once, and their streams end. It cannot be brought back.</p>
        </Confirm>
      )}
    </div>
  )
}
