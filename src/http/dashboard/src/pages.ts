// The pages, in the order of the navigation. A page is one line here and files of its own in `pages/`.
// `path` is the first part of the address; the component gets the parts behind it. `key` opens it after `g`.
// Parts that draw charts come as `lazy(() => import('./…'))` (`kit/lazy`), so that they are no part of the first load.
import type { FunctionComponent } from 'preact'
import { Events } from './pages/events'
import { Instances } from './pages/instances'
import { Overview } from './pages/overview'
import { Tenants } from './pages/tenants'

export type PageProps = { rest: readonly string[] }
export type Page = { path: string; title: string; key: string; component: FunctionComponent<PageProps> }

export const pages: readonly Page[] = [
  { path: '', title: 'Overview', key: 'o', component: Overview },
  { path: 'tenants', title: 'Tenants', key: 't', component: Tenants },
  { path: 'instances', title: 'Instances', key: 'i', component: Instances },
  { path: 'events', title: 'Events', key: 'e', component: Events },
]
