// The beginning of the page.
import { render } from 'preact'
import { App } from './shell/app'
import './style/base.css'
import './style/shell.css'
import './style/kit.css'
import './style/pages.css'
import './style/tenant.css'
import './style/forms.css'
import './style/instances.css'
import './style/time.css'

const root = document.getElementById('app')
if (root) render(<App />, root)
