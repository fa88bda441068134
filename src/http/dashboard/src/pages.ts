// The pages, in the order of the navigation. A page is one line here and files of its own in `pages/`.
// `path` is the first part of the address; the component gets the parts behind it. `key` opens it after `g`.
// Pages that draw charts come as `lazy(() => import('./pages/…'))`, so that they are no part of the first load.
import type { FunctionComponent } from 'preact'
import { Overview } from './pages/overview'
import { Tenants } from './pages/tenants'

export type PageProps = { rest: readonly string[] }
export type Page = { path: string; title: string; key: string; component: FunctionComponent<PageProps> }

export const pages: readonly Page[] = [
  { path: '', title: 'Overview', key: 'o', component: Overview },
  { path: 'tenants', title: 'Tenants', key: 't', component: Tenants },
]
