// `test` with a server of its own, and a page that fails the test for anything the browser complains about.
import { test as base, expect, type Page } from '@playwright/test'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { PASSWORD, type Room, SMALL, Server } from './server'

export { expect } from '@playwright/test'

/** A directory with a built dashboard that takes the place of the embedded one, so that a change in it needs no new program. */
const BUILT = process.env['DASHBOARD'] ?? ''

/** The program's own page and headers, with the files of the directory under the names that the page asks for. */
async function replace(page: Page): Promise<void> {
  const files = fs.readdirSync(path.join(BUILT, 'assets'))
  const stem = (name: string): string => `${name.split('-')[0]}${path.extname(name)}`
  const alike = (asked: string): string => files.find((name) => stem(name) === stem(asked)) ?? asked
  await page.route(/\/dashboard\/assets\//, (route) => {
    const { pathname } = new URL(route.request().url())
    return route.fulfill({ path: path.join(BUILT, 'assets', alike(path.basename(pathname))) })
  })
}

type Fixtures = {
  /** What the control plane is made for; a test that needs another says so. */
  room: Room
  server: Server
  /** What the browser complained about. A test that provokes something takes it out again. */
  complaints: string[]
}

export const test = base.extend<Fixtures>({
  room: [SMALL, { option: true }],
  server: async ({ room }, use) => {
    const server = await Server.start(room)
    await use(server)
    await server.stop()
  },
  complaints: async ({}, use) => {
    const complaints: string[] = []
    await use(complaints)
    expect(complaints, 'the browser complained').toEqual([])
  },
  baseURL: async ({ server }, use) => use(server.url),
  page: async ({ page, complaints }, use) => {
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') complaints.push(`${message.type()}: ${message.text()}`)
    })
    page.on('pageerror', (error) => complaints.push(`uncaught: ${error.message}`))
    if (BUILT !== '') await replace(page)
    await page.exposeFunction('complain', (text: string) => complaints.push(text))
    await page.addInitScript(() => {
      addEventListener('securitypolicyviolation', (event) => {
        const { complain } = globalThis as unknown as { complain: (text: string) => void }
        complain(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`)
      })
    })
    await use(page)
  },
})

export async function login(page: Page, username = 'admin', password = PASSWORD): Promise<void> {
  await page.goto('/')
  await page.getByLabel('User name').fill(username)
  await page.getByLabel('Password').fill(password)
  await page.getByRole('button', { name: 'Log in' }).click()
  await expect(page.getByRole('button', { name: 'Log out' })).toBeVisible()
}

const AXE = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
type Finding = { id: string; impact: string | null; nodes: { html: string; failureSummary?: string }[] }

/** Fails for what axe calls serious or critical. It is put in by the debugger, which no policy binds. */
export async function expectAccessible(page: Page): Promise<void> {
  await page.evaluate(AXE)
  const findings = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: { run: () => Promise<{ violations: Finding[] }> } }
    return (await axe.run()).violations
  })
  const serious = findings.filter(({ impact }) => impact === 'serious' || impact === 'critical')
  const told = serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary ?? ''}`).join('\n')}`)
  expect(told, 'axe').toEqual([])
}
