// Server-sent events out of a fetch. `EventSource` cannot send the Authorization header.

export type Message = { id: string; event: string; data: string }

/** The longest message that is kept while it comes in, in characters: far more than a page of 1,000 tenants. */
const LONGEST = 16_000_000

/** Takes text in any pieces and gives whole messages. Comments and unknown fields are left out. */
export class Parser {
  #rest = ''
  #message: Message = { id: '', event: '', data: '' }
  #data: string[] = []

  push(text: string): Message[] {
    // A line may end in CR LF, LF or CR; a CR at the end of a piece may be half of a line end.
    this.#rest += text
    const held = this.#rest.endsWith('\r') ? '\r' : ''
    const lines = this.#rest.slice(0, this.#rest.length - held.length).split(/\r\n|\n|\r/)
    this.#rest = (lines.pop() ?? '') + held
    if (this.#rest.length > LONGEST) throw new Error('a message of the stream is too long')
    return lines.flatMap((line) => this.#line(line))
  }

  #line(line: string): Message[] {
    if (line === '') {
      const message = { ...this.#message, data: this.#data.join('\n') }
      const isWhole = this.#data.length > 0
      this.#data = []
      this.#message.event = ''
      return isWhole ? [message] : []
    }
    const colon = line.indexOf(':')
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (field === 'data') this.#data.push(value)
    else if (field === 'id' && !value.includes('\0')) this.#message.id = value
    else if (field === 'event') this.#message.event = value
    return []
  }
}

/** Reads a response to its end. `alive` is told of every piece, comments too. */
export async function* messages(response: Response, alive: () => void): AsyncGenerator<Message> {
  if (response.body === null) return
  const parser = new Parser()
  const reader = response.body.getReader()
  const decoder = new TextDecoder()
  try {
    for (;;) {
      // One piece after another: that is what a stream is.
      const { done, value } = await reader.read()
      if (done) return
      alive()
      yield* parser.push(decoder.decode(value, { stream: true }))
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}
