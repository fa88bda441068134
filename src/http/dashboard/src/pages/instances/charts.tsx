// Memory, CPU, requests and errors of an instance's last hour. Measurements are no state: they are asked for again
// whenever there is a new one.
import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { get } from '../../api/client'
import type { MetricsHistory } from '../../api/types'
import { Empty, Failed, Loading } from '../../kit/states'
import { useMeasured } from '../../live/measured'
import { isDark } from '../../shell/scheme'
import { type Plot, latest, plotsOf } from './plots'

const HEIGHT = 132
/** What the axis of times reaches over at least, in seconds. */
const SHORTEST_S = 300

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
  const look = isDark.value
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
  const path = `/api/metrics/${encodeURIComponent(service)}/${encodeURIComponent(id)}/history`
  const read = (signal: AbortSignal): Promise<MetricsHistory> => get<MetricsHistory>(path, { now: true, signal })
  const { data: history, error } = useMeasured(path, read, (found) => found.interval_seconds)
  if (error !== undefined) return <Failed error={error} />
  if (!history) return <Loading what="measurements" />
  if (history.samples.length === 0) return <Empty title="Nothing was measured yet"><p>There is a measurement every {history.interval_seconds} seconds.</p></Empty>
  return <div class="charts">{plotsOf(history).map((plot) => <Chart key={plot.title} plot={plot} />)}</div>
}
