import { cleanup, fireEvent, render, screen } from '@testing-library/preact'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { asBefore, sorted, topOf, visible } from '../../src/kit/rows'
import { type Column, Table } from '../../src/kit/table'

afterEach(cleanup)

type Row = { id: string; size: number | null }
const rows = Array.from({ length: 10_000 }, (_, place): Row => ({ id: `row ${place}`, size: place % 7 === 0 ? null : 10_000 - place }))
const columns: Column<Row>[] = [
  { key: 'id', title: 'Name', width: '1fr', cell: (row) => row.id, by: (row) => row.id },
  { key: 'size', title: 'Size', width: '1fr', cell: (row) => row.size, by: (row) => row.size },
]

describe('the rows of a table', () => {
  it('are only those that can be seen, and some beyond', () => {
    expect(visible(0, 400, 40, 10_000)).toEqual({ first: 0, last: 22 })
    const { first, last } = visible(topOf(200_000, 40), 400, 40, 10_000)
    expect(first).toBeLessThanOrEqual(5000)
    expect(last).toBeGreaterThanOrEqual(5010)
    expect(last - first).toBeLessThan(40)
    expect(visible(topOf(399_600, 40), 400, 40, 10_000).last).toBe(10_000)
    expect(visible(topOf(4000, 40), 400, 40, 3)).toEqual({ first: 0, last: 3 })
    expect(visible(0, 400, 40, 0)).toEqual({ first: 0, last: 0 })
  })

  it('are sorted as people count, with what is missing at the end either way', () => {
    const names = ['b10', 'b9', '', 'A1', null]
    expect(sorted(names, (name) => name, false)).toEqual(['A1', 'b9', 'b10', '', null])
    expect(sorted(names, (name) => name, true)).toEqual(['b10', 'b9', 'A1', '', null])
    expect(sorted([3, 20, 1], (number) => number, false)).toEqual([1, 3, 20])
  })

  it('are sorted alike whatever order they had before', () => {
    const all = [{ id: 'a', size: 2 }, { id: 'b', size: 1 }, { id: 'c', size: 2 }, { id: 'd', size: 0 }]
    const keys = all.map(({ id }) => id)
    expect(asBefore(keys, ['c', 'gone', 'b', 'a'])).toEqual([2, 1, 0, 3])
    const ids = (places?: number[]) => sorted(all, ({ size }) => size, false, places).map(({ id }) => id)
    expect(ids(asBefore(keys, ['c', 'gone', 'b', 'a']))).toEqual(ids())
    expect(ids()).toEqual(['d', 'b', 'a', 'c'])
  })
})

describe('the table', () => {
  const shown = () => screen.getAllByRole('gridcell').map((cell) => cell.textContent)

  it('holds a few of ten thousand rows and says how many there are', () => {
    render(<Table label="All" rows={rows} columns={columns} keyOf={(row) => row.id} />)
    expect(screen.getByRole('grid').getAttribute('aria-rowcount')).toBe('10001')
    expect(screen.getAllByRole('row').length).toBeLessThan(60)
  })

  it('looks at no row again that stays while it scrolls', () => {
    const cell = vi.fn((row: { id: string }) => row.id)
    render(<Table label="All" rows={rows} columns={[{ key: 'name', title: 'Name', width: '1fr', cell }]} keyOf={(row) => row.id} />)
    const grid = screen.getByRole('grid')
    cell.mockClear()
    grid.scrollTop = 30
    fireEvent.scroll(grid)
    expect(cell).not.toHaveBeenCalled()
    grid.scrollTop = 8 * 40
    fireEvent.scroll(grid)
    expect(new Set(cell.mock.calls.map(([row]) => row.id)).size).toBe(cell.mock.calls.length)
    expect(cell).toHaveBeenCalledTimes(8)
  })

  it('sorts by a click on a heading, and the other way by a second', () => {
    render(<Table label="All" rows={rows} columns={columns} keyOf={(row) => row.id} />)
    fireEvent.click(screen.getByRole('button', { name: 'Size' }))
    expect(shown().slice(0, 2)).toEqual(['row 9999', '1'])
    expect(screen.getByRole('columnheader', { name: 'Size' }).getAttribute('aria-sort')).toBe('ascending')
    fireEvent.click(screen.getByRole('button', { name: 'Size' }))
    expect(shown().slice(0, 2)).toEqual(['row 1', '9999'])
  })

  it('is moved and opened by the keyboard', () => {
    const open = vi.fn()
    render(<Table label="All" rows={rows} columns={columns} keyOf={(row) => row.id} onOpen={open} />)
    const grid = screen.getByRole('grid')
    for (const key of ['ArrowDown', 'ArrowDown', 'ArrowUp', 'ArrowDown', 'Enter']) fireEvent.keyDown(grid, { key })
    expect(open).toHaveBeenCalledExactlyOnceWith(rows[1])
    expect(grid.getAttribute('aria-activedescendant')).toBe(screen.getByRole('row', { selected: true }).id)
  })
})
