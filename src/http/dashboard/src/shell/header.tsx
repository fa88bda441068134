// The bar at the top: where one can go, whether the connection stands, who is here.
import { may } from '../api/may'
import { end, session } from '../api/session'
import { isLost } from '../live/link'
import { isPast } from '../live/moment'
import { pages } from '../pages'
import { isHelpOpen } from './keyboard'
import { href, parts } from './router'
import { toggle } from './scheme'

function Connection() {
  if (isPast.value) return <p class="link past" role="status">Past</p>
  return isLost.value
    ? <p class="link lost" role="status">Connection lost, trying again</p>
    : <p class="link live" role="status">Live</p>
}

export function Header() {
  const here = parts.value[0] ?? ''
  return (
    <header class="bar">
      <a class="brand" href={href('/')}>Tenantry</a>
      <nav aria-label="Pages">
        {pages.filter(({ needs = 'viewer' }) => may(needs)).map(({ path, title, key }) => (
          <a key={path} href={href(`/${path}`)} aria-current={path === here ? 'page' : undefined} title={`${title} (g ${key})`}>{title}</a>
        ))}
      </nav>
      <div class="bar-end">
        <Connection />
        <button type="button" class="plain icon" aria-label="Dark or light" title="Dark or light" onClick={toggle}>◐</button>
        <button type="button" class="plain icon" aria-label="Keyboard help" title="Keyboard (?)" onClick={() => (isHelpOpen.value = true)}>?</button>
        <span class="who">{session.value?.user.username}</span>
        <button type="button" onClick={() => end()}>Log out</button>
      </div>
    </header>
  )
}
