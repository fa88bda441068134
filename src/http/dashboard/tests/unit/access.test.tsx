import { signal } from '@preact/signals'
import { cleanup, fireEvent, render, screen } from '@testing-library/preact'
import { afterEach, describe, expect, it } from 'vitest'
import type { TenantLine } from '../../src/api/types'
import { SHOWN, offered } from '../../src/pages/access/offered'
import { Reach } from '../../src/pages/access/reach'

afterEach(cleanup)

const line = (n: number): TenantLine => ({
  id: `id ${n}`, name: `Candidate ${n}`, slug: `tenant-${n}`, domain: `tenant-${n}.example.com`, api_domain: null, status: 'running', health_status: 'healthy',
  frontend_port: null, backend_port: null, deployed_at: null, created_at: '2026-01-01T00:00:00Z',
})
const all = (count: number): TenantLine[] => Array.from({ length: count }, (_, n) => line(n))

describe('tenants to choose from', () => {
  it('are a few, those that match, and those that are chosen', () => {
    const { shown, more } = offered(all(10_000), '', ['id 9000'])
    expect([shown.length, shown[0]?.id, more]).toEqual([SHOWN + 1, 'id 9000', 10_000 - SHOWN])
    const found = offered(all(10_000), 'tenant-77', ['id 3', 'id 7712'])
    expect([found.shown[0]?.id, found.more]).toEqual(['id 3', 111 - SHOWN])
    expect(found.shown.slice(1).every(({ slug }) => slug.startsWith('tenant-77'))).toBe(true)
    expect(offered(all(SHOWN), '', [])).toEqual({ shown: all(SHOWN), more: 0 })
  })

  it('are searched for where there are many, and chosen by their boxes', () => {
    const reach = signal<string[] | null>([])
    render(<Reach reach={reach} tenants={all(2000)} />)
    expect(screen.getAllByRole('checkbox')).toHaveLength(SHOWN)
    fireEvent.input(screen.getByRole('searchbox'), { target: { value: 'candidate 1999' } })
    fireEvent.click(screen.getByLabelText('Candidate 1999'))
    expect(reach.value).toEqual(['id 1999'])
    fireEvent.input(screen.getByRole('searchbox'), { target: { value: '' } })
    expect(screen.getByLabelText<HTMLInputElement>('Candidate 1999').checked).toBe(true)
    expect(screen.getByRole('status').textContent).toBe(`and ${2000 - SHOWN} more: search for one`)
  })

  it('have no search where all of them are there', () => {
    render(<Reach reach={signal<string[] | null>([])} tenants={all(SHOWN)} />)
    expect(screen.queryByRole('searchbox')).toBeNull()
  })
})
