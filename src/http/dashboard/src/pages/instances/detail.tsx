// One instance: how it is, what it uses, what it prints, and what can be done with it.
import { useSignal } from '@preact/signals'
import { write } from '../../api/client'
import type { InstanceDetails } from '../../api/types'
import { Badge } from '../../kit/badge'
import { WriteButton } from '../../kit/button'
import { Confirm } from '../../kit/dialog'
import { lazy } from '../../kit/lazy'
import { Empty, Failed, Loading } from '../../kit/states'
import { Ago, At } from '../../kit/time'
import { say } from '../../kit/toast'
import { isPast } from '../../live/moment'
import { useLive } from '../../live/use'
import { go, href } from '../../shell/router'
import { Output } from './output'
import { Weight } from './weight'

const Charts = lazy(() => import('./charts'), 'charts')

function Facts({ instance }: { instance: InstanceDetails }) {
  const exit = instance.last_exit
  return (
    <dl class="facts">
      <div><dt>State</dt><dd><Badge state={instance.status} /></dd></div>
      <div><dt>Health</dt><dd><Badge state={instance.health} />{instance.last_health_check !== null && <span class="quiet"> checked <Ago at={instance.last_health_check} /></span>}</dd></div>
      <div><dt>Restarts</dt><dd class="number">{instance.restart_count}</dd></div>
      <div><dt>Created</dt><dd><At at={instance.created_at} /></dd></div>
      {exit && <div><dt>Last end</dt><dd>{exit.reason}, <Ago at={exit.at} /></dd></div>}
      <div><dt>Socket</dt><dd>{instance.socket === null ? <span class="quiet">none, it has a port</span> : <code>{instance.socket}</code>}</dd></div>
      {instance.limits?.without_effect.map((sentence) => <div key={sentence}><dt>Limit</dt><dd class="note-warn">{sentence}</dd></div>)}
      <div><dt>Weight</dt><dd><Weight key={instance.weight} service={instance.service} id={instance.id} weight={instance.weight} /></dd></div>
      <div><dt>Events</dt><dd><a href={href('/events', { instance: instance.instance })}>What happened to it</a></dd></div>
    </dl>
  )
}

export function InstanceDetail({ service, id }: { service: string; id: string }) {
  const path = `/api/instances/${encodeURIComponent(service)}/${encodeURIComponent(id)}`
  const instance = useLive<InstanceDetails>(path)
  // What is gone is not shown on, and nothing is asked about it.
  const found = instance.error === undefined ? instance.data : undefined
  const isStopping = useSignal(false)
  const name = `${service}:${id}`
  const restart = async (): Promise<void> => {
    await write('POST', `${path}/restart`)
    say(`${name} is restarting`)
  }
  const stop = async (): Promise<void> => {
    await write('DELETE', path)
    say(`${name} has stopped and is gone; its output is kept for a while`)
    go('/instances')
  }
  return (
    <div class="page">
      <div class="page-head">
        <h1>Instances</h1>
        <p class="quiet"><a href={href('/instances')}>All instances</a></p>
        <div class="tools">
          <WriteButton act={restart}>Restart</WriteButton>
          <WriteButton tone="danger" act={() => (isStopping.value = true)}>Stop…</WriteButton>
        </div>
      </div>
      {instance.isLoading && <Loading what={name} />}
      {instance.error !== undefined && <Failed error={instance.error} />}
      {found && (
        <div class="panels instance">
          <section class="panel" aria-labelledby="instance"><header><h2 id="instance">{name}</h2></header><div class="panel-body"><Facts instance={found} /></div></section>
          <section class="panel" aria-labelledby="usage">
            <header><h2 id="usage">The last hour</h2></header>
            {isPast.value ? <Empty title="Measurements have no past" /> : <Charts service={service} id={id} />}
          </section>
        </div>
      )}
      {found && (
        <section class="panel" aria-labelledby="output">
          <header><h2 id="output">Output</h2></header>
          {isPast.value ? <Empty title="Output is shown as it is now"><p>Return to the present to see it.</p></Empty> : <Output service={service} id={id} />}
        </section>
      )}
      {isStopping.value && (
        <Confirm title={`Stop ${name}`} name={name} verb="Stop" act={stop} onClose={() => (isStopping.value = false)}>
          <p>Its process is ended and the instance removed. Requests to it are refused from then on.</p>
        </Confirm>
      )}
    </div>
  )
}
