// A deployment: its steps as they go, and what they print.
import { write } from '../../api/client'
import type { Deployment, Step } from '../../api/types'
import { Badge, toneOf } from '../../kit/badge'
import { WriteButton } from '../../kit/button'
import { Log, type LogLine } from '../../kit/log'
import { Empty, Failed, Loading } from '../../kit/states'
import { Ago, duration } from '../../kit/time'
import { useProgress } from '../../live/deployment'
import { isPast } from '../../live/moment'
import { useLive } from '../../live/use'
import { declared } from './lines'
import { percentOf, summaryOf } from './steps'

export function Progress({ id }: { id: string }) {
  const { data, error } = useLive<Deployment>(`/api/deployments/${id}`)
  if (error !== undefined) return <Failed error={error} />
  if (data === undefined || data.id !== id) return <Loading what="the deployment" />
  return <Shown deployment={data} />
}

/** Only what has a level of its own shows one: most of it is what tools say. */
function lineOf(text: string, place: number): LogLine {
  const level = declared(text)
  return level === undefined ? { key: String(place), text } : { key: String(place), text, level }
}

const isOver = ({ status }: Deployment): boolean => status !== 'pending' && status !== 'running'

function Shown({ deployment }: { deployment: Deployment }) {
  const over = isOver(deployment)
  // Taken up again, it has a socket of its own again.
  const progress = useProgress(deployment.id, over ? 1 : 0)
  const { steps, status } = deployment
  const percent = over ? percentOf(steps, status) : Math.max(progress.percent, percentOf(steps, status))
  const passed = deployment.finished_at === null ? null : Date.parse(deployment.finished_at) - Date.parse(deployment.started_at)
  return (
    <div class="progress">
      <div class="line-head">
        <h2>Release {deployment.release}{deployment.rollback && ', a rollback'}</h2>
        <Badge state={status} />
      </div>
      <p class="quiet any-text">
        Began <Ago at={deployment.started_at} />{passed !== null && `, took ${duration(passed)}`}{deployment.git_ref !== null && `, of ${deployment.git_ref}`}
      </p>
      <progress max={100} value={percent} aria-label="Progress" class={toneOf(status)}>{percent} %</progress>
      <p class="only-read" role="status">{summaryOf(steps, status)}</p>
      <ol class="steps" aria-label="Steps">
        {steps.map((step) => <StepLine key={step.name} step={step} />)}
      </ol>
      <div class="row-buttons">
        {!over && <WriteButton act={() => write('POST', `/api/deployments/${deployment.id}/cancel`)}>Cancel</WriteButton>}
        {(status === 'failed' || status === 'cancelled') && (
          <WriteButton act={() => write('POST', `/api/deployments/${deployment.id}/retry`)}>Try again</WriteButton>
        )}
      </div>
      {isPast.value
        ? <p class="quiet">What the steps print is not kept for the past.</p>
        : progress.lines.length === 0
          ? over && <Empty title="The steps printed nothing" />
          : <Log label="What the steps print" lines={progress.lines.map(lineOf)} />}
    </div>
  )
}

function StepLine({ step }: { step: Step }) {
  return (
    <li class={`step step-${step.status}`}>
      <span class="step-name">{step.name}</span>
      <span class="step-took number">
        {step.duration !== undefined ? duration(step.duration * 1000) : step.started !== undefined && step.status === 'running' ? <Ago at={step.started} /> : ''}
      </span>
      <Badge state={step.status} />
      {step.detail !== undefined && step.detail !== '' && <p class="step-detail">{step.detail}</p>}
    </li>
  )
}
