// The whole: the login page, or the bar with the page that the address names.
import { useEffect, useRef } from 'preact/hooks'
import { may } from '../api/may'
import { session } from '../api/session'
import { Empty } from '../kit/states'
import { Toasts } from '../kit/toast'
import { pages } from '../pages'
import { Login } from '../pages/login'
import { Header } from './header'
import { Help } from './help'
import { onKey } from './keyboard'
import { TimeMachine } from '../time/machine'
import { PastBanner } from './past'
import { href, parts } from './router'

function Shown() {
  const [first = '', ...rest] = parts.value
  const page = pages.find(({ path, needs = 'viewer' }) => path === first && may(needs))
  const main = useRef<HTMLElement>(null)
  const before = useRef(first)
  useEffect(() => {
    document.title = page === undefined || page.path === '' ? 'Tenantry' : `${page.title} · Tenantry`
    // Another page begins at its top, for screen readers as well. The first one keeps the browser's focus.
    if (before.current !== first) main.current?.focus()
    before.current = first
  }, [first, page])
  return (
    <main ref={main} id="main" tabIndex={-1}>
      {page
        ? <page.component rest={rest} />
        : <Empty title="There is no such page"><a href={href('/')}>To the overview</a></Empty>}
    </main>
  )
}

export function App() {
  useEffect(() => {
    addEventListener('keydown', onKey)
    return () => removeEventListener('keydown', onKey)
  }, [])
  if (session.value === null) return <><Login /><Toasts /></>
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById('main')?.focus() }}>To the content</a>
      <Header />
      <PastBanner />
      <Shown />
      <footer class="foot"><a href="/dashboard/assets/licenses.txt" target="_blank" rel="noreferrer">Licences of what is built in</a></footer>
      <TimeMachine />
      <Help />
      <Toasts />
    </>
  )
}
