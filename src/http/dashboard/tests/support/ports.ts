// Ports for one test.
import net from 'node:net'

/** Two hundred ports in a row of which the first is free; as the tests in Rust choose them. */
export async function freeRange(): Promise<number> {
  const free = (port: number): Promise<boolean> =>
    new Promise((resolve) => {
      const server = net.createServer()
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
    })
  for (;;) {
    const first = 10_000 + Math.floor(Math.random() * 90) * 200
    if ((await free(first)) && (await free(first + 1)) && (await free(first + 100))) return first
  }
}
