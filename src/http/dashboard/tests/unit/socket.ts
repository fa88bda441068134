// A WebSocket that says what a test lets it say.
export class Socket extends EventTarget {
  static readonly CONNECTING = 0
  static last: Socket
  readyState = 1
  constructor() {
    super()
    Socket.last = this
  }
  send(): void {}
  close(): void {
    this.dispatchEvent(Object.assign(new Event('close'), { code: 1000 }))
  }
  /** A message of the server. */
  static says(message: unknown): void {
    Socket.last.dispatchEvent(new MessageEvent('message', { data: JSON.stringify(message) }))
  }
}
