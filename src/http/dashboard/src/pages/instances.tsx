// Every instance, and one of them by itself.
import type { PageProps } from '../pages'
import { InstanceDetail } from './instances/detail'
import { InstanceTable } from './instances/list'

export function Instances({ rest }: PageProps) {
  const [service, id] = rest
  return service && id ? <InstanceDetail key={`${service}:${id}`} service={service} id={id} /> : <InstanceTable />
}
