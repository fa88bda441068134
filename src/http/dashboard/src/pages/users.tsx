// Who may log in, and what they may do.
import { useSignal } from '@preact/signals'
import { write } from '../api/client'
import { session } from '../api/session'
import type { Account, AccountList } from '../api/types'
import { Badge } from '../kit/badge'
import { WriteButton } from '../kit/button'
import { Confirm } from '../kit/dialog'
import { Empty, Failed, Loading } from '../kit/states'
import { type Column, Table } from '../kit/table'
import { Ago } from '../kit/time'
import { say } from '../kit/toast'
import { useTenants } from '../live/tenants'
import { useLive } from '../live/use'
import { UserForm } from './access/user-form'
import { PasswordForm } from './access/password-form'

type Asking = { what: 'create' } | { what: 'edit' | 'password' | 'delete'; user: Account }

export function Users() {
  const { data, error } = useLive<AccountList>('/api/users?limit=1000')
  const tenants = useTenants()
  const asking = useSignal<Asking | null>(null)
  const close = (): void => void (asking.value = null)
  const names = new Map(tenants.data?.map((tenant) => [tenant.id, tenant.name]))
  const reach = ({ tenant_ids: ids }: Account): string => (ids === null ? 'all' : ids.map((id) => names.get(id) ?? id).join(', ') || 'none')
  const columns: readonly Column<Account>[] = [
    { key: 'username', title: 'User', width: 'minmax(8rem, 1fr)', by: (user) => user.username, cell: (user) => <span class="two-lines"><strong>{user.username}</strong><small><span class="narrow-only">{user.role}, </span>{user.email}</small></span> },
    { key: 'role', title: 'Role', width: '6.5rem', wideOnly: true, by: (user) => user.role, cell: (user) => user.role },
    { key: 'state', title: 'State', width: '7.5rem', wideOnly: true, by: (user) => String(user.disabled), cell: (user) => <Badge state={user.disabled ? 'stopped' : 'active'} label={user.disabled ? 'disabled' : 'active'} /> },
    { key: 'tenants', title: 'Tenants', width: 'minmax(8rem, 1fr)', wideOnly: true, by: reach, cell: (user) => reach(user) },
    { key: 'created', title: 'Created', width: '8rem', wideOnly: true, by: (user) => user.created_at, cell: (user) => <Ago at={user.created_at} /> },
    {
      key: 'acts', title: '', width: '13.5rem', align: 'end',
      cell: (user) => (
        <span class="cell-buttons">
          <WriteButton needs="admin" label={`Edit ${user.username}`} act={() => (asking.value = { what: 'edit', user })}>Edit</WriteButton>
          <WriteButton needs="admin" label={`Password of ${user.username}`} act={() => (asking.value = { what: 'password', user })}>Password</WriteButton>
          {user.id !== session.value?.user.id && <WriteButton needs="admin" label={`Delete ${user.username}`} act={() => (asking.value = { what: 'delete', user })}>Delete</WriteButton>}
        </span>
      ),
    },
  ]
  const now = asking.value
  const remove = async (user: Account): Promise<void> => {
    await write('DELETE', `/api/users/${user.id}`)
    say(`${user.username} was deleted.`)
  }
  return (
    <div class="page fills">
      <div class="page-head">
        <h1>Users</h1>
        <p class="quiet" role="status">{data?.total}</p>
        <div class="tools"><WriteButton needs="admin" tone="primary" act={() => (asking.value = { what: 'create' })}>Create user</WriteButton></div>
      </div>
      {error !== undefined && <Failed error={error} />}
      {data === undefined && error === undefined && <Loading what="users" />}
      {data && <Table label="Users" rows={data.users} columns={columns} keyOf={(user) => user.id} order={{ column: 'username', isDown: false }} empty={<Empty title="Nobody" />} />}
      {now?.what === 'create' && <UserForm tenants={tenants.data ?? []} onClose={close} />}
      {now?.what === 'edit' && <UserForm user={now.user} tenants={tenants.data ?? []} onClose={close} />}
      {now?.what === 'password' && <PasswordForm user={now.user} onClose={close} />}
      {now?.what === 'delete' && (
        <Confirm title="Delete user" name={now.user.username} verb="Delete" act={() => remove(now.user)} onClose={close}>
          <p>Their logins end at once. What they did stays in the history under their name.</p>
        </Confirm>
      )}
    </div>
  )
}
