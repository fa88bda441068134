// Start, stop, restart, deploy, delete: at the head of every tab.
import { useSignal } from '@preact/signals'
import { write } from '../../api/client'
import type { Tenant } from '../../api/types'
import { WriteButton } from '../../kit/button'
import { say } from '../../kit/toast'
import { note } from '../../shell/router'
import { DeleteTenant } from './delete'
import { Deploy } from './deploy'

export function Actions({ tenant }: { tenant: Tenant }) {
  const asking = useSignal<'deploy' | 'delete' | ''>('')
  const wasDeployed = tenant.deployed_at !== null
  const isRunning = tenant.status === 'running'
  const act = (request: () => Promise<unknown>, done: string) => async (): Promise<void> => {
    await request()
    say(`${tenant.name} ${done}.`)
  }
  const close = (): void => void (asking.value = '')
  return (
    <div class="tools">
      {wasDeployed && !isRunning && <WriteButton act={act(() => write('POST', `/api/tenants/${tenant.id}/start`), 'was started')}>Start</WriteButton>}
      {wasDeployed && <WriteButton act={act(() => write('POST', `/api/tenants/${tenant.id}/restart`), 'was restarted')} disabled={tenant.status === 'deploying'}>Restart</WriteButton>}
      {wasDeployed && <WriteButton act={act(() => write('POST', `/api/tenants/${tenant.id}/stop`), 'was stopped')} disabled={tenant.status === 'stopped'}>Stop</WriteButton>}
      <WriteButton tone="primary" act={() => (asking.value = 'deploy')} disabled={tenant.status === 'deploying'}>Deploy</WriteButton>
      <WriteButton act={() => (asking.value = 'delete')}>Delete</WriteButton>
      {asking.value === 'deploy' && <Deploy tenant={tenant} onClose={close} onBegun={(id) => note({ tab: 'deployments', deployment: id })} />}
      {asking.value === 'delete' && <DeleteTenant tenant={tenant} onClose={close} />}
    </div>
  )
}
