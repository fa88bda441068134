// Memory, CPU, requests and errors of an instance's last hour. Measurements are no state: they are asked for again
// whenever there is a new one.
import { useEffect, useRef, useState } from 'preact/hooks'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { get } from '../../api/client'
import type { MetricsHistory } from '../../api/types'
import { Empty, Failed, Loading } from '../../kit/states'
import { isShown } from '../../live/visible'
import { type Plot, latest, plotsOf } from './plots'

const HEIGHT = 132
/** What the axis of times reaches over at least, in seconds. */
const SHORTEST_S = 300

function useHistory(path: string): { history: MetricsHistory | undefined; error: unknown } {
  const [history, setHistory] = useState<MetricsHistory>()
  const [error, setError] = useState<unknown>()
  useEffect(() => {
    const stop = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    const read = async (): Promise<void> => {
      await isShown(stop.signal)
      if (stop.signal.aborted) return
      try {
        const found = await get<MetricsHistory>(path, { now: true, signal: stop.signal })
        setHistory(found)
        setError(undefined)
        timer = setTimeout(() => void read(), found.interval_seconds * 1000)
      } catch (refusal) {
        if (!stop.signal.aborted) setError(refusal)
      }
    }
    void read()
    return () => {
      stop.abort()
      clearTimeout(timer)
    }
  }, [path])
  return { history, error }
}

/** Canvases do not see style sheets, so what they take from them is read; again when it becomes another. */
function useLook(): number {
  const [count, setCount] = useState(0)
  useEffect(() => {
    const change = (): void => setCount((before) => before + 1)
    const dark = matchMedia('(prefers-color-scheme: dark)')
    const observer = new MutationObserver(change)
    observer.observe(document.documentElement, { attributeFilter: ['data-scheme'] })
    dark.addEventListener('change', change)
    return () => {
      observer.disconnect()
      dark.removeEventListener('change', change)
    }
  }, [])
  return count
}

function options(plot: Plot, element: HTMLElement): uPlot.Options {
  const style = getComputedStyle(element)
  const colour = (name: string): string => style.getPropertyValue(name).trim()
  const axis: uPlot.Axis = { stroke: colour('--quiet'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' }
  return {
    width: element.clientWidth,
    height: HEIGHT,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: 'instance' }, drag: { x: false, y: false }, points: { size: 5 } },
    // The axis begins where an operator looks at it, also when there is one measurement yet.
    scales: { x: { range: (_, first, last) => [Math.min(first, last - SHORTEST_S), last] }, y: { range: (_, __, most) => [0, Math.max(plot.least, most * 1.15)] } },
    axes: [{ ...axis, size: 24, space: 70 }, { ...axis, size: 46, space: 30 }],
    series: [
      {},
      ...plot.series.map(({ name, colour: named, isFilled }) => ({
        label: name, stroke: colour(named), width: 1.5, points: { show: (chart: uPlot) => chart.data[0].length < 3 }, ...(isFilled ? { fill: colour(`${named}-soft`) } : {}),
      })),
    ],
  }
}

function Chart({ plot }: { plot: Plot }) {
  const element = useRef<HTMLDivElement>(null)
  const chart = useRef<uPlot | null>(null)
  const look = useLook()
  useEffect(() => {
    const parent = element.current
    if (!parent) return
    const made = new uPlot(options(plot, parent), plot.data, parent)
    chart.current = made
    const observer = new ResizeObserver(() => made.setSize({ width: parent.clientWidth, height: HEIGHT }))
    observer.observe(parent)
    return () => {
      observer.disconnect()
      made.destroy()
      chart.current = null
    }
  }, [look, plot.title])
  useEffect(() => chart.current?.setData(plot.data), [plot.data])
  return (
    <figure class="chart">
      <figcaption><span>{plot.title}</span><span class="number">{latest(plot)}</span></figcaption>
      <div ref={element} role="img" aria-label={`${plot.title} of the last hour, now ${latest(plot)}`} />
    </figure>
  )
}

export default function Charts({ service, id }: { service: string; id: string }) {
  const { history, error } = useHistory(`/api/metrics/${encodeURIComponent(service)}/${encodeURIComponent(id)}/history`)
  if (error !== undefined) return <Failed error={error} />
  if (!history) return <Loading what="measurements" />
  if (history.samples.length === 0) return <Empty title="Nothing was measured yet"><p>There is a measurement every {history.interval_seconds} seconds.</p></Empty>
  return <div class="charts">{plotsOf(history).map((plot) => <Chart key={plot.title} plot={plot} />)}</div>
}
