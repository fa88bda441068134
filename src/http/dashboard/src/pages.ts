// The pages, in the order of the navigation. A page is one line here and files of its own in `pages/`.
// `path` is the first part of the address; the component gets the parts behind it. `key` opens it after `g`.
// Parts that draw charts come as `lazy(() => import('./…'))` (`kit/lazy`), so that they are no part of the first load.
import type { FunctionComponent } from 'preact'
import type { Role } from './api/types'
import { Events } from './pages/events'
import { Instances } from './pages/instances'
import { Nginx } from './pages/nginx'
import { Overview } from './pages/overview'
import { Ports } from './pages/ports'
import { Settings } from './pages/settings'
import { Tenants } from './pages/tenants'
import { Tokens } from './pages/tokens'
import { Users } from './pages/users'

export type PageProps = { rest: readonly string[] }
export type Page = {
  path: string
  title: string
  key: string
  component: FunctionComponent<PageProps>
  /** Who sees it; everybody when it is not said. */
  needs?: Role
}

export const pages: readonly Page[] = [
  { path: '', title: 'Overview', key: 'o', component: Overview },
  { path: 'tenants', title: 'Tenants', key: 't', component: Tenants },
  { path: 'instances', title: 'Instances', key: 'i', component: Instances },
  { path: 'events', title: 'Events', key: 'e', component: Events },
  { path: 'ports', title: 'Ports', key: 'p', component: Ports },
  { path: 'nginx', title: 'NGINX', key: 'n', component: Nginx },
  { path: 'settings', title: 'Settings', key: 's', component: Settings },
  { path: 'users', title: 'Users', key: 'u', component: Users, needs: 'admin' },
  { path: 'tokens', title: 'Tokens', key: 'k', component: Tokens, needs: 'admin' },
]
