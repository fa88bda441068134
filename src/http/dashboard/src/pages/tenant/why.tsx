// Why a tenant is not well, in a sentence.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { get } from '../../api/client'
import type { Tenant, Why as Cause } from '../../api/types'
import { asOf } from '../../live/moment'
import { isUnwell } from '../tenants/filter'

export function Why({ tenant }: { tenant: Tenant }) {
  const why = useSignal('')
  const { id, status, health_status: health } = tenant
  const isWell = !isUnwell(tenant)
  const moment = asOf.value
  useEffect(() => {
    why.value = ''
    if (isWell) return
    const stop = new AbortController()
    get<Cause>('/api/events/why', { query: { tenant_id: id }, signal: stop.signal }).then(
      ({ sentence }) => (why.value = sentence),
      // It is a help; its absence is none.
      () => undefined,
    )
    return () => stop.abort()
  }, [id, status, health, isWell, moment])
  return why.value === '' ? null : <p class="banner bad any-text" role="status">{why.value}</p>
}
