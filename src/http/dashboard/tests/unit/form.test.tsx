import { cleanup, fireEvent, render, screen, waitFor } from '@testing-library/preact'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { begin } from '../../src/api/session'
import { Confirm } from '../../src/kit/dialog'
import { asOf } from '../../src/live/moment'
import { CreateTenant, slugOf } from '../../src/pages/tenants/create'

beforeEach(() => {
  asOf.value = null
  begin({ token: 't', user: { id: 'u', username: 'admin', email: '', role: 'admin' } })
})
afterEach(cleanup)

const type = (label: string | RegExp, value: string) => fireEvent.input(screen.getByLabelText(label), { target: { value } })

describe('the form of a new tenant', () => {
  it('says each mistake at its field and asks nothing of the server', async () => {
    const fetched = vi.fn()
    vi.stubGlobal('fetch', fetched)
    render(<CreateTenant onClose={() => undefined} />)
    type('Slug', 'Bad Slug')
    fireEvent.submit(screen.getByRole('button', { name: 'Create', hidden: true }).closest('form')!)
    await screen.findByText('A name is needed.')
    expect(screen.getByLabelText('Slug').getAttribute('aria-invalid')).toBe('true')
    expect(screen.getByLabelText('Notes (optional)').getAttribute('aria-invalid')).toBe('false')
    expect(fetched).not.toHaveBeenCalled()
  })

  it('puts a refusal where it belongs and stays open', async () => {
    const body = { detail: "domain 'a.example' belongs to another tenant.", hint: 'choose another domain.', code: 'domain_taken' }
    vi.stubGlobal('fetch', vi.fn(async () => new Response(JSON.stringify(body), { status: 409 })))
    const close = vi.fn()
    render(<CreateTenant onClose={close} />)
    for (const [label, value] of [['Name', 'A'], ['Slug', 'a'], ['Domain', 'a.example']] as const) type(label, value)
    fireEvent.submit(screen.getByRole('button', { name: 'Create', hidden: true }).closest('form')!)
    await screen.findByText("domain 'a.example' belongs to another tenant. Choose another domain.")
    expect(screen.getByLabelText('Domain').getAttribute('aria-invalid')).toBe('true')
    expect(close).not.toHaveBeenCalled()
  })

  it('makes a slug of any name', () => {
    expect(slugOf('Ed Gallrein for State')).toBe('ed-gallrein-for-state')
    expect(slugOf('  Zoë <b>Ünal</b>!! ')).toBe('zoe-b-unal-b')
    expect(slugOf('é'.repeat(99))).toBe('e'.repeat(63))
  })
})

describe('a destructive act', () => {
  it('wants the name, and the whole of it', async () => {
    const act = vi.fn(async () => undefined)
    const close = vi.fn()
    render(<Confirm title="Delete" name="smith" verb="Delete" act={act} onClose={close}>It will be gone.</Confirm>)
    const button = screen.getByRole<HTMLButtonElement>('button', { name: 'Delete', hidden: true })
    expect(button.disabled).toBe(true)
    type(/to confirm/, 'smit')
    fireEvent.submit(button.closest('form')!)
    expect(act).not.toHaveBeenCalled()
    type(/to confirm/, 'smith')
    await waitFor(() => expect(button.disabled).toBe(false))
    fireEvent.submit(button.closest('form')!)
    await waitFor(() => expect(close).toHaveBeenCalled())
    expect(act).toHaveBeenCalledOnce()
  })
})
