// The arithmetic of a table of which only the visible rows exist.

export type Window = { first: number; last: number }

/** Rows beyond the edges, so that a fast scroll does not show a gap. */
const BEYOND = 8
/** The window moves in steps, so that most scrolling draws nothing anew. */
const STEP = 4

/** The row at the top, as far as it makes another window. */
export const topOf = (scrollTop: number, rowHeight: number): number => Math.floor(scrollTop / rowHeight / STEP) * STEP

/** Which rows exist, of `count`, below this one at the top. `last` is exclusive. */
export function visible(top: number, height: number, rowHeight: number, count: number): Window {
  const first = Math.max(0, Math.min(top, count) - BEYOND)
  const last = Math.min(count, top + Math.ceil(height / rowHeight) + STEP + BEYOND)
  return { first: Math.min(first, last), last }
}

export type Order = { column: string; isDown: boolean }
export type Sortable = string | number | null | undefined

const words = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' })

/**
 * Sorted by a value; what has none comes last either way, and equal ones keep their order. `places` gives the rows in nearly that
 * order, by their places: sorting ten thousand names takes 60 ms, and 6 when few of them are out of order.
 */
export function sorted<Row>(rows: readonly Row[], by: (row: Row) => Sortable, isDown: boolean, places: Iterable<number> = rows.keys()): Row[] {
  const keyed = Array.from(places, (place) => {
    const row = rows[place] as Row
    return { row, key: by(row), place }
  })
  const sign = isDown ? -1 : 1
  keyed.sort((a, b) => {
    const isEmptyA = a.key === null || a.key === undefined || a.key === ''
    const isEmptyB = b.key === null || b.key === undefined || b.key === ''
    if (isEmptyA || isEmptyB) return isEmptyA === isEmptyB ? a.place - b.place : isEmptyA ? 1 : -1
    const both = typeof a.key === 'number' && typeof b.key === 'number'
    const found = both ? (a.key as number) - (b.key as number) : words.compare(String(a.key), String(b.key))
    return found === 0 ? a.place - b.place : sign * found
  })
  return keyed.map(({ row }) => row)
}

/** The places of rows in the order that those before them had, by their keys; what is new comes last. */
export function asBefore(keys: readonly string[], before: readonly string[]): number[] {
  const places = new Map(keys.map((key, place) => [key, place]))
  const known = before.flatMap((key) => {
    const place = places.get(key)
    places.delete(key)
    return place === undefined ? [] : [place]
  })
  return [...known, ...places.values()]
}
