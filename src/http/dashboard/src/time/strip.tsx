// The strip: a slider over the whole journal, with what stands where.
import { useEffect, useRef } from 'preact/hooks'
import { isPast } from '../live/moment'
import { parts } from '../shell/router'
import { isDark } from '../shell/scheme'
import { useSignal } from '@preact/signals'
import { draw } from './draw'
import { head, marks, standing, timeOf } from './journal'
import { type PointName, opened, points, setPoint, span } from './points'
import { backToNow, isMoving, moveBy, moveTo, moveToMark, position } from './travel'
import { lastTurn } from './turned'

const whole = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' })
const number = new Intl.NumberFormat()

function words(seq: number): { time: string; rest: string } {
  const when = timeOf(seq)
  if (!when) return { time: '', rest: `event ${number.format(seq)}` }
  return { time: `${when.isExact ? '' : 'about '}${whole.format(when.at)}`, rest: `event ${number.format(seq)} of ${number.format(head.value)}` }
}

function Track() {
  const frame = useRef<HTMLDivElement>(null)
  const canvas = useRef<HTMLCanvasElement>(null)
  const size = useSignal({ width: 0, height: 0 })
  useEffect(() => {
    const element = frame.current
    if (!element) return
    const observer = new ResizeObserver(() => (size.value = { width: element.clientWidth, height: element.clientHeight }))
    observer.observe(element)
    return () => observer.disconnect()
  }, [])
  const at = position.value
  const { A, B } = points.value
  const flags = [{ name: 'A', seq: A }, { name: 'B', seq: B }].flatMap(({ name, seq }) => (seq === null ? [] : [{ name, seq }]))
  void isDark.value
  const picture = { ...size.value, head: head.value, at, marks: marks.value, points: flags, timeOf }
  // What the picture shows is read above, so that it is drawn again with each of them.
  timeOf(at)
  useEffect(() => {
    if (canvas.current) draw(canvas.current, picture)
  })
  const { time, rest } = words(at)
  return (
    <div ref={frame} class="track">
      <canvas ref={canvas} aria-hidden="true" />
      <input
        type="range"
        aria-label="Moment"
        aria-valuetext={isPast.value || isMoving.value ? `${time}, ${rest}` : `now, ${rest}`}
        min={1}
        max={Math.max(1, head.value)}
        step={1}
        disabled={head.value === 0}
        value={at}
        onInput={(event) => moveTo(Number(event.currentTarget.value))}
      />
    </div>
  )
}

type StepProps = { label: string; keys: string; act: () => void; children: string }

const Step = ({ label, keys, act, children }: StepProps) => (
  <button type="button" class="plain icon" aria-label={label} title={`${label} (${keys})`} onClick={act}>{children}</button>
)

function Point({ name }: { name: PointName }) {
  const seq = points.value[name]
  const set = (): void => setPoint(name, seq === null ? position.value : null)
  const label = seq === null ? `Set point ${name} here` : `Take point ${name} away, event ${seq}`
  return <button type="button" class="point" aria-pressed={seq !== null} aria-label={label} title={label} onClick={set}>{name}{seq !== null && <small>{number.format(seq)}</small>}</button>
}

/** The tenant whose page is shown. */
const tenantHere = (): string | null => (parts.value[0] === 'tenants' ? (parts.value[1] ?? null) : null)

export function Strip({ isFolded, onFold }: { isFolded: boolean; onFold: () => void }) {
  const at = position.value
  const { time, rest } = words(at)
  const isThen = isPast.value || isMoving.value
  const event = standing.value
  const turn = lastTurn.value
  const restore = (): void => void (opened.value = { what: 'restore', moment: at, tenant: tenantHere() })
  const classes = ['strip', isThen && 'then', isFolded && 'folded'].filter(Boolean).join(' ')
  return (
    <section class={classes} aria-label="Time machine">
      {!isFolded && (
        <div class="strip-slider">
          <Step label="Mark before" keys="{" act={() => moveToMark(-1)}>«</Step>
          <Step label="Event before" keys="[" act={() => moveBy(-1)}>‹</Step>
          <Track />
          <Step label="Next event" keys="]" act={() => moveBy(1)}>›</Step>
          <Step label="Next mark" keys="}" act={() => moveToMark(1)}>»</Step>
        </div>
      )}
      <div class="strip-foot">
        <p class="strip-moment" title={turn === null ? undefined : `The page was turned in ${Math.round(turn)} ms`}>
          <strong>{isThen ? time : 'Now'}</strong>
          <span class="quiet">{rest}</span>
          {isThen && event?.seq === at && <code>{event.kind}</code>}
        </p>
        {!isFolded && (
          <ul class="legend" aria-label="Marks">
            <li class="dot bad">failures</li><li class="dot busy">deployments</li><li class="dot good">restores</li>
          </ul>
        )}
        <div class="strip-acts">
          {!isFolded && <><Point name="A" /><Point name="B" /></>}
          {!isFolded && <button type="button" disabled={span() === null} onClick={() => (opened.value = { what: 'compare' })}>Compare</button>}
          {isPast.value && <button type="button" onClick={restore}>Restore a tenant to here…</button>}
          {isThen && <button type="button" class="primary" onClick={backToNow}>Back to now</button>}
          <button type="button" class="plain icon" aria-expanded={!isFolded} aria-label="Time machine" title={isFolded ? 'Show the time machine' : 'Fold the time machine away'} onClick={onFold}>{isFolded ? '▴' : '▾'}</button>
        </div>
      </div>
    </section>
  )
}
