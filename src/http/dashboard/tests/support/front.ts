// A real nginx in a directory of its own, on free ports, as `tests/nginx/front.rs` has one.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { freeRange } from './ports'

const PATIENCE_MS = 30_000

export class Front {
  readonly #dir: string
  readonly #http: number
  readonly #https: number

  private constructor(dir: string, http: number, https: number) {
    this.#dir = dir
    this.#http = http
    this.#https = https
  }

  /** A running one; null, loudly, when there is no nginx. */
  static async start(): Promise<Front | null> {
    try {
      execFileSync('nginx', ['-v'], { stdio: 'ignore' })
    } catch {
      process.stdout.write('!!! SKIPPED: nginx is missing, so the buttons of its page are not tested in a browser\n')
      return null
    }
    const port = await freeRange()
    const front = new Front(fs.mkdtempSync(path.join(os.tmpdir(), 'ngx')), port, port + 1)
    await front.#run()
    return front
  }

  async #run(): Promise<void> {
    for (const name of ['conf', 'sites-available', 'sites-enabled', 'logs', 'tmp']) fs.mkdirSync(this.path(name))
    const root = this.#dir
    const user = process.getuid?.() === 0 ? 'user root;' : ''
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${root}/tmp/${kind};`).join(' ')
    fs.writeFileSync(this.path('conf/nginx.conf'), `daemon on; worker_processes 1; ${user}
pid ${root}/nginx.pid; error_log ${root}/logs/error.log info;
events { worker_connections 128; }
http { access_log off; ${temporary} include ${root}/sites-enabled/*; }
`)
    execFileSync('nginx', this.#words().slice(1), { stdio: 'ignore' })
    const until = Date.now() + PATIENCE_MS
    while (!(fs.existsSync(this.path('nginx.pid')) && fs.readFileSync(this.path('nginx.pid'), 'utf8').trim() !== '')) {
      if (Date.now() > until) throw new Error('nginx has no pid')
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  #words(): string[] {
    return ['nginx', '-p', this.#dir, '-e', `${this.#dir}/logs/error.log`, '-c', 'conf/nginx.conf']
  }

  path(name: string): string {
    return path.join(this.#dir, name)
  }

  /** The part of a control plane's configuration that leads to it. */
  get section(): string {
    return `[nginx]
command = "${this.#words().join(' ')}"
sites_available = "${this.path('sites-available')}"
sites_enabled = "${this.path('sites-enabled')}"
listen = "127.0.0.1:${this.#http}"
listen_tls = "127.0.0.1:${this.#https}"
`
  }

  /** What it answers for a name. */
  async get(domain: string, where: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = net.connect(this.#http, '127.0.0.1', () => socket.write(`GET ${where} HTTP/1.0\r\nHost: ${domain}\r\n\r\n`))
      let text = ''
      socket.setEncoding('utf8').on('data', (data: string) => (text += data)).on('end', () => resolve(text)).on('error', reject)
    })
  }

  /** Puts a site of somebody else in place. */
  foreign(name: string, text: string): void {
    fs.writeFileSync(path.join(this.path('sites-enabled'), name), text)
  }

  /** A site that answers with a text, as somebody else may have one. */
  answering(domain: string, text: string): string {
    return `server { listen 127.0.0.1:${this.#http}; server_name ${domain}; location / { return 200 "${text}"; } }\n`
  }

  stop(): void {
    process.kill(Number(fs.readFileSync(this.path('nginx.pid'), 'utf8')), 'SIGTERM')
    fs.rmSync(this.#dir, { recursive: true, force: true })
  }
}
