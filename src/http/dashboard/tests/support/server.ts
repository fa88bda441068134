// A control plane for one test: the program itself, on free ports, in a directory of its own. Everything that it started
// ends with it. The program is TENANTRY, else the debug build.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { Front } from './front'
import { freeRange } from './ports'

const ROOT = path.resolve(import.meta.dirname, '../../../../..')
const TARGET = process.env['CARGO_TARGET_DIR'] ?? path.join(ROOT, 'target')
const PROGRAM = process.env['TENANTRY'] ?? path.join(TARGET, 'debug/tenantry')
export const PASSWORD = 'correct horse battery'
const PATIENCE_MS = 60_000

/** Two ports for each tenant. `journal` is the data directory of another control plane to begin with, `more` the end of the configuration. */
export type Room = { tenants: number; services?: string; journal?: string; front?: Front; more?: string }
export const SMALL: Room = { tenants: 10 }
/** Some ports of a large room are somebody else's. */
const SPARE = 200
/** Far apart, for people who read them. */
const STEP = 10

function configuration(ports: number, { tenants, services = '', front, more = '' }: Room): string {
  const isSmall = tenants <= SMALL.tenants
  const last = ports + (isSmall ? SMALL.tenants * STEP : tenants * 2 + SPARE) - 1
  const app = path.join(ROOT, 'tests/fixtures/api.py')
  return `
[settings]
health_check_interval = 1
rate_limit_per_minute = 1000000
rate_limit_per_hour = 1000000
[ports]
first = ${ports}
last = ${last}
step = ${isSmall ? STEP : 2}
instances_first = ${last + 1}
instances_last = ${last + 100}
[deploy]
root = "{data_dir}/tenants"
nginx = "${front ? 'on' : 'off'}"
ssl = "${front ? 'self-signed' : 'off'}"
[deploy.template]
init = "python3 {release}/init.py"
database = "data/app.db"
[deploy.template.frontend]
command = "python3 {release}/frontend.py"
health = "/health"
startup_timeout = 30
[deploy.template.backend]
command = "python3 {release}/backend.py"
health = "/health"
startup_timeout = 30
[service.api]
command = "python3"
args = [${JSON.stringify(app)}]
health = "/health"
stop_timeout = 2
${services}${front?.section ?? ''}${more}`
}

type Ended = { id: string; status: string; release: number; finished_at: string | null }

export class Server {
  /** Where the manager's address is. */
  url = ''
  readonly #dir: string
  readonly #config: string
  #child: ChildProcess | undefined
  #log = ''
  #token = ''

  private constructor(dir: string, config: string) {
    this.#dir = dir
    this.#config = config
  }

  static async start(room: Room = SMALL): Promise<Server> {
    // Below the temporary directory, so that socket paths stay short.
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tnd'))
    const config = path.join(dir, 'tenantry.toml')
    fs.writeFileSync(config, configuration(await freeRange(), room))
    const server = new Server(dir, config)
    if (room.journal !== undefined) fs.cpSync(room.journal, server.data, { recursive: true })
    await server.serve()
    return server
  }

  /** Starts the program, or starts it again on the address that it had. */
  async serve(): Promise<void> {
    const manager = this.url === '' ? '127.0.0.1:0' : new URL(this.url).host
    const args = ['serve', '--config', this.#config, '--data-dir', this.data, '--manager', manager, '--instances', '127.0.0.1:0']
    const env = { PATH: process.env['PATH'] ?? '', TENANTRY_ADMIN_PASSWORD: PASSWORD }
    const child = spawn(PROGRAM, args, { cwd: this.#dir, env, stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    this.url = await new Promise<string>((resolve, reject) => {
      let out = ''
      const fail = (why: string): void => reject(new Error(`${PROGRAM}: ${why}\n${this.#log}`))
      const timer = setTimeout(() => fail('not ready in time'), PATIENCE_MS)
      child.on('error', (error) => fail(String(error)))
      child.on('exit', (code) => fail(`ended with ${code}`))
      child.stderr?.on('data', (data: Buffer) => (this.#log += data.toString()))
      child.stdout?.on('data', (data: Buffer) => {
        out += data.toString()
        if (!/^ready$/m.test(out)) return
        clearTimeout(timer)
        resolve(/^manager: (\S+)$/m.exec(out)?.[1] ?? '')
      })
    })
  }

  /** Waits until the program has nothing to do: for a second it took less than a twentieth of one. */
  async idle(): Promise<void> {
    const ticks = (): number => {
      const stat = fs.readFileSync(`/proc/${this.#child?.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
      return Number(stat[11]) + Number(stat[12])
    }
    for (let before = ticks(), now = Number.POSITIVE_INFINITY; now - before > 5; ) {
      before = ticks()
      await new Promise((resolve) => setTimeout(resolve, 1000))
      now = ticks()
    }
  }

  get data(): string {
    return path.join(this.#dir, 'data')
  }

  /** The text of a file of the data directory. */
  file(name: string): string {
    return fs.readFileSync(path.join(this.data, name), 'utf8')
  }

  /** Ends the program as a crash would. */
  async kill(): Promise<void> {
    const child = this.#child
    if (!child || child.exitCode !== null) return
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGKILL')
    await ended
  }

  async stop(): Promise<void> {
    await this.kill()
    execFileSync(PROGRAM, ['stop', '--all', '--data-dir', this.data], { cwd: this.#dir, env: { PATH: process.env['PATH'] ?? '' } })
    fs.rmSync(this.#dir, { recursive: true, force: true })
  }

  /** A path that nothing has yet. */
  path(name: string): string {
    return path.join(this.#dir, name)
  }

  /** A git repository of the sample application; `before` is put before what prepares a release. */
  campaign(name = 'campaign', before = ''): string {
    const repository = path.join(this.#dir, name)
    if (!fs.existsSync(repository)) {
      fs.cpSync(path.join(ROOT, 'examples/campaign'), repository, { recursive: true })
      const init = path.join(repository, 'init.py')
      fs.writeFileSync(init, before + fs.readFileSync(init, 'utf8'))
      const git = (...args: string[]): Buffer => execFileSync('git', ['-C', repository, '-c', 'user.name=t', '-c', 'user.email=t@example.com', ...args])
      git('init', '-q', '-b', 'main')
      git('add', '-A')
      git('commit', '-q', '-m', 'first')
    }
    return `file://${repository}`
  }

  /** A request of the API, past the browser. */
  async ask<T>(method: string, where: string, body?: unknown): Promise<T> {
    if (this.#token === '' && where !== '/api/auth/login') {
      const login = { username: 'admin', password: PASSWORD }
      this.#token = (await this.ask<{ access_token: string }>('POST', '/api/auth/login', login)).access_token
    }
    const headers: Record<string, string> = { 'Content-Type': 'application/json' }
    if (this.#token !== '') headers['Authorization'] = `Bearer ${this.#token}`
    const answer = await fetch(this.url + where, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${method} ${where}: ${answer.status} ${text}`)
    return JSON.parse(text) as T
  }

  tenant(slug: string, name: string, repository = this.campaign()): Promise<{ id: string }> {
    const domains = { domain: `${slug}.localhost`, api_domain: `${slug}-api.localhost` }
    return this.ask('POST', '/api/tenants', { name, slug, ...domains, github_repo: repository })
  }

  /** Deploys a tenant, and waits for the end. */
  async deployed(tenant: string): Promise<Ended> {
    const { deployment_id: id } = await this.ask<{ deployment_id: string }>('POST', `/api/tenants/${tenant}/deploy`, {})
    return this.ended(id)
  }

  /** Waits for the end of a deployment. */
  async ended(id: string): Promise<Ended> {
    for (;;) {
      const deployment = await this.ask<Ended>('GET', `/api/deployments/${id}`)
      if (deployment.finished_at !== null) return deployment
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}
