import { describe, expect, it } from 'vitest'
import { Parser } from '../../src/live/sse'

const parse = (...pieces: string[]) => {
  const parser = new Parser()
  return pieces.flatMap((piece) => parser.push(piece))
}

describe('the parser of server-sent events', () => {
  it('gives whole messages with their id and kind', () => {
    expect(parse('id: 7\ndata: {"a":1}\n\nevent: gone\nid: 8\ndata: x\n\n')).toEqual([
      { id: '7', event: '', data: '{"a":1}' },
      { id: '8', event: 'gone', data: 'x' },
    ])
  })

  it('does not care where pieces are cut', () => {
    const text = 'id: 1\r\ndata: a\r\ndata: b\r\n\r\n: a comment\n\nid: 2\rdata:c\r\r'
    const whole = parse(text, '\n')
    expect(parse(...text.split(/(?:)/), '\n')).toEqual(whole)
    expect(whole).toEqual([{ id: '1', event: '', data: 'a\nb' }, { id: '2', event: '', data: 'c' }])
  })

  it('gives nothing for comments and for what has not ended', () => {
    expect(parse(': still here\n\n', 'id: 3\ndata: half')).toEqual([])
  })

  it('keeps the last id, and the kind for one message only', () => {
    expect(parse('id: 4\nevent: e\ndata: a\n\ndata: b\n\n')).toEqual([
      { id: '4', event: 'e', data: 'a' },
      { id: '4', event: '', data: 'b' },
    ])
  })
})
