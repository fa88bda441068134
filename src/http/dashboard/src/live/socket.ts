// Ends a WebSocket without a word in the browser's console: one that is still being opened is let open first.
export function shut(socket: WebSocket): void {
  if (socket.readyState === WebSocket.CONNECTING) socket.addEventListener('open', () => socket.close())
  else socket.close()
}
