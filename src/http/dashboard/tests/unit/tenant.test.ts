import { describe, expect, it } from 'vitest'
import { address, host, mail, whole } from '../../src/kit/checks'
import { MOST_LINES, NOTHING, after } from '../../src/live/deployment'
import type { Step } from '../../src/api/types'
import { contrast, inkOn, ratio, rgb, sixDigits, warningsOf } from '../../src/pages/tenant/contrast'
import { HIDDEN, type Row, isSame, merged, mistakeOf, parse, rowsOf, sentOf } from '../../src/pages/tenant/env'
import { declared, levelOf } from '../../src/pages/tenant/lines'
import { percentOf, summaryOf } from '../../src/pages/tenant/steps'

const row = (changes: Partial<Row>): Row => ({ name: 'A', value: '1', isSecret: false, hides: '', ...changes })

describe('the text of a .env file', () => {
  it('is read with its quotes, comments and export', () => {
    const text = 'A=1\n# no\n\n export B = two words # why\nC="x # y\\n\\"z\\""\r\nD=\'a\\n\' # c\nE=\nF=a=b#c'
    expect(parse(text)).toEqual({
      variables: [['A', '1'], ['B', 'two words'], ['C', 'x # y\n"z"'], ['D', 'a\\n'], ['E', ''], ['F', 'a=b#c']],
      mistakes: [],
    })
  })

  it('says at which line it is wrong', () => {
    const { mistakes, variables } = parse('A=1\nnothing\n1B=2\nC="open\nA=2\nD="a" b')
    expect(mistakes.map(({ line }) => line)).toEqual([2, 3, 4, 5, 6])
    expect(variables).toEqual([['A', '1']])
  })

  it('goes over rows of the same name and keeps their marks', () => {
    const rows = [row({ isSecret: true }), row({ name: 'K', value: '', isSecret: true, hides: 'K' }), row({ name: '', value: '' })]
    const all = merged(rows, [['A', '2'], ['K', HIDDEN], ['N', 'new']])
    expect(all).toEqual([row({ value: '2', isSecret: true }), rows[1], row({ name: 'N', value: 'new' })])
  })
})

describe('the rows of an environment', () => {
  it('never hold a hidden value and send back what keeps it', () => {
    const rows = rowsOf({ B: HIDDEN, A: 'x' }, ['B'])
    expect(rows).toEqual([row({ value: 'x' }), { name: 'B', value: '', isSecret: true, hides: 'B' }])
    expect(sentOf(rows)).toEqual({ custom_env: { A: 'x', B: HIDDEN }, secret_env: ['B'] })
    expect(isSame(rows, rows.map((it) => ({ ...it })))).toBe(true)
    const other = rows.map((it) => (it.name === 'B' ? { ...it, value: 'new' } : it))
    expect(sentOf(other).custom_env).toEqual({ A: 'x', B: 'new' })
    expect(isSame(rows, other)).toBe(false)
  })

  it('say what is wrong with each', () => {
    const wrong = (it: Row, others: Row[] = []): string => mistakeOf(it, [it, ...others])
    expect(wrong(row({}))).toBe('')
    expect(wrong(row({ name: '', value: '' }))).toBe('')
    expect(wrong(row({ name: '' }))).toContain('name is needed')
    expect(wrong(row({ name: '1A' }))).toContain('no digit first')
    expect(wrong(row({}), [row({ value: '2' })])).toContain('twice')
    expect(wrong(row({ value: '', hides: 'OLD' }))).toContain('type it again')
    expect(wrong(row({ value: `x${HIDDEN}` }))).toContain('in place of a secret')
    expect(wrong(row({ value: 'a\nb' }))).toContain('control characters')
    expect(wrong(row({ value: 'a\tb' }))).toBe('')
  })
})

describe('contrast', () => {
  it('is the one of WCAG', () => {
    expect(ratio(contrast('#000', '#ffffff') ?? 0)).toBe('21.00:1')
    expect(ratio(contrast('#777777', '#fff') ?? 0)).toBe('4.47:1')
    expect(contrast('#fff', 'red')).toBeNull()
    expect([inkOn('#0e173e'), inkOn('#f1c613')]).toEqual(['#ffffff', '#000000'])
  })

  it('warns of text that is hard to read, and of no other', () => {
    expect(warningsOf({ text_color: '#374151', sidebar_color: '#f8fafc' })).toEqual([])
    expect(warningsOf({ text_color: '#777777', sidebar_color: '#000000' })).toEqual(['Text on white has a contrast of 4.47:1; 4.5:1 is wanted.'])
    expect(warningsOf({ text_color: '#888', sidebar_color: '#999' })).toHaveLength(2)
  })

  it('reads both ways of writing a colour', () => {
    expect(rgb('#0aF')).toEqual([0, 170, 255])
    expect(sixDigits('#0aF')).toBe('#00aaff')
    for (const text of ['', 'red', '#12345', '#1234567', '123456']) expect(rgb(text)).toBeNull()
  })
})

describe('the progress of a deployment', () => {
  const names = ['Copy files', 'Initialize database', 'Create systemd services', 'Configure NGINX'] as const
  const steps = (...states: Step['status'][]): Step[] => states.map((status, place) => ({ name: names[place] ?? 'Start services', status }))
  const of = { deployment_id: 'one' }

  it('counts what is done, and half of what runs', () => {
    expect(percentOf(steps('success', 'skipped', 'running', 'pending'), 'running')).toBe(62)
    expect(percentOf(steps('success', 'skipped'), 'success')).toBe(100)
    expect(percentOf([], 'pending')).toBe(0)
    expect(summaryOf(steps('success', 'running', 'pending'), 'running')).toBe('Initialize database (2 of 3)')
    expect(summaryOf(steps('success', 'failed'), 'failed')).toBe('Initialize database failed')
  })

  it('only grows, and keeps the last lines', () => {
    const first = after(NOTHING, [{ type: 'log', message: 'a' }, { type: 'progress', ...of, status: 'running', current_step: 'x', progress_percent: 40 }])
    const next = after(first, [{ type: 'progress', ...of, status: 'running', current_step: 'y', progress_percent: 20 }, { type: 'log', message: 'b' }])
    expect(next).toEqual({ percent: 40, status: 'running', lines: ['a', 'b'], seconds: null })
    expect(after(next, [{ type: 'complete', ...of, status: 'success', duration_seconds: 3 }])).toMatchObject({ status: 'success', seconds: 3 })
    const many = Array.from({ length: MOST_LINES + 2 }, (_, place) => ({ type: 'log' as const, message: String(place) }))
    expect(after(next, many).lines).toHaveLength(MOST_LINES)
    expect(after(next, many).lines[0]).toBe('2')
  })
})

describe('the level of a line', () => {
  it('is what the line says of itself', () => {
    expect(levelOf('{"level": "error", "message": "x"}')).toBe('error')
    expect(levelOf('ts=1 level=warning msg=x')).toBe('warn')
    expect(levelOf('ERROR: no')).toBe('error')
    expect(levelOf('[debug] x')).toBe('debug')
    expect(levelOf('Errors happen')).toBe('info')
    expect(levelOf('')).toBe('info')
    expect(declared('==> Copy files')).toBeUndefined()
  })
})

describe('checks of fields', () => {
  it('take what the server takes', () => {
    expect([host('a.example.com'), mail('a@b'), address('http', 'https')('https://a.b/c'), whole(5, 10)('5')]).toEqual([undefined, undefined, undefined, undefined])
    for (const wrong of [host('Not A Host'), host('single'), mail('a b@c'), mail('ab'), whole(5, 10)('11'), whole(5, 10)('6.5')]) expect(wrong).toBeTruthy()
    for (const url of ['ftp://a', 'https://', 'https://u:p@h', 'http://a b', 'javascript:alert(1)']) expect(address('http', 'https')(url), url).toBeTruthy()
  })
})
