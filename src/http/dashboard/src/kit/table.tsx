// A table of any length: only the rows that can be seen exist. Rows have one height. The arrow keys, Page Up and Down,
// Home and End move the active row, Enter opens it; a click on a heading sorts.
import { useSignal } from '@preact/signals'
import type { Signal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef } from 'preact/hooks'
import { type Order, type Sortable, asBefore, sorted, topOf, visible } from './rows'

export type Column<Row> = {
  key: string
  title: string
  /** As in `grid-template-columns`. */
  width: string
  cell: (row: Row) => ComponentChildren
  /** Makes the column sortable. */
  by?: (row: Row) => Sortable
  /** Not shown on a narrow screen. */
  wideOnly?: boolean
  align?: 'end'
}

type TableProps<Row> = {
  label: string
  rows: readonly Row[]
  columns: readonly Column<Row>[]
  keyOf: (row: Row) => string
  onOpen?: (row: Row) => void
  order?: Order
  /** Stands in the place of rows when there are none. */
  empty?: ComponentChildren
  /** The last row can be seen: more may be read. */
  onEnd?: () => void
}

/** Also in the style sheet, as `--row`. */
const ROW = 40

const classOf = <Row,>(col: Column<Row>): string => `${col.wideOnly ? 'wide-only ' : ''}${col.align ?? ''}`.trim()

type LineProps<Row> = { id: string; at: number; row: Row; columns: readonly Column<Row>[]; active: Signal<number>; onClick: (at: number, row: Row) => void }

/** One row. As it reads a signal, it is looked at again only when that or one of these became another: not while the table scrolls. */
function Line<Row>({ id, at, row, columns, active, onClick }: LineProps<Row>) {
  return (
    <div
      id={`${id}-${at}`}
      class="table-row"
      role="row"
      aria-rowindex={at + 2}
      aria-selected={at === active.value}
      style={{ transform: `translateY(${at * ROW}px)` }}
      onClick={() => onClick(at, row)}
    >
      {columns.map((col) => <div key={col.key} role="gridcell" class={classOf(col)}>{col.cell(row)}</div>)}
    </div>
  )
}

export function Table<Row>({ label, rows, columns, keyOf, onOpen, order: first, empty, onEnd }: TableProps<Row>) {
  const id = useId()
  const scroller = useRef<HTMLDivElement>(null)
  const top = useSignal(0)
  const height = useSignal(800)
  const active = useSignal(-1)
  const order = useSignal<Order | null>(first ?? null)
  const { column, isDown } = order.value ?? { column: '', isDown: false }
  const by = columns.find(({ key }) => key === column)?.by
  const before = useRef<readonly string[]>([])
  // Columns are made anew by each rendering of a page; their keys say what sorts.
  const ordered = useMemo(() => {
    if (!by) return rows
    // Most rows stay where they were, whatever became of them.
    const found = sorted(rows, by, isDown, asBefore(rows.map(keyOf), before.current))
    before.current = found.map(keyOf)
    return found
  }, [rows, column, isDown])
  const window = visible(top.value, height.value, ROW, ordered.length)

  useLayoutEffect(() => {
    const element = scroller.current
    if (!element) return
    const observer = new ResizeObserver(() => (height.value = element.clientHeight))
    observer.observe(element)
    return () => observer.disconnect()
  }, [])
  useEffect(() => {
    if (active.value >= ordered.length) active.value = ordered.length - 1
  }, [ordered.length])
  useEffect(() => {
    if (window.last === ordered.length && ordered.length > 0) onEnd?.()
  }, [window.last, ordered.length])

  const show = (row: number): void => {
    const element = scroller.current
    if (!element) return
    active.value = Math.max(0, Math.min(ordered.length - 1, row))
    const top = active.value * ROW
    if (top < element.scrollTop) element.scrollTop = top
    // The heading covers one row.
    else if (top + 2 * ROW > element.scrollTop + element.clientHeight) element.scrollTop = top + 2 * ROW - element.clientHeight
  }
  const move = (event: KeyboardEvent): void => {
    if (event.target !== event.currentTarget) return
    const page = Math.max(1, Math.floor(height.value / ROW) - 2)
    const to: Record<string, number> = {
      ArrowDown: active.value + 1, ArrowUp: active.value - 1, Home: 0, End: ordered.length - 1,
      PageDown: active.value + page, PageUp: active.value - page,
    }
    const next = to[event.key]
    if (next !== undefined) {
      event.preventDefault()
      show(next)
    } else if (event.key === 'Enter' && onOpen) {
      const row = ordered[active.value]
      if (row !== undefined) onOpen(row)
    }
  }
  const sort = (key: string): void => {
    order.value = { column: key, isDown: column === key && !isDown }
  }

  const latest = useRef(onOpen)
  latest.current = onOpen
  const open = useCallback((at: number, row: Row): void => {
    active.value = at
    latest.current?.(row)
  }, [])

  const template = columns.map(({ width }) => width).join(' ')
  const narrow = columns.filter(({ wideOnly }) => !wideOnly).map(({ width }) => width).join(' ')
  return (
    <div
      ref={scroller}
      class={onOpen ? 'table opens' : 'table'}
      role="grid"
      aria-label={label}
      aria-rowcount={ordered.length + 1}
      aria-activedescendant={active.value >= window.first && active.value < window.last ? `${id}-${active.value}` : undefined}
      tabIndex={0}
      style={{ '--columns': template, '--narrow': narrow }}
      onScroll={(event) => (top.value = topOf(event.currentTarget.scrollTop, ROW))}
      onKeyDown={move}
    >
      <div class="table-row heading" role="row" aria-rowindex={1}>
        {columns.map((col) => {
          const sense = col.key === column ? (isDown ? 'descending' : 'ascending') : col.by ? 'none' : undefined
          return (
            <div key={col.key} role="columnheader" class={classOf(col)} aria-sort={sense}>
              {col.by ? <button type="button" class="plain" onClick={() => sort(col.key)}>{col.title}</button> : col.title}
            </div>
          )
        })}
      </div>
      {ordered.length === 0 && empty}
      <div class="table-body" role="presentation" style={{ height: `${ordered.length * ROW}px` }}>
        {ordered.slice(window.first, window.last).map((row, place) => (
          <Line key={keyOf(row)} id={id} at={window.first + place} row={row} columns={columns} active={active} onClick={open} />
        ))}
      </div>
    </div>
  )
}
