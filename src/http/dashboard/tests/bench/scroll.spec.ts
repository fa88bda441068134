// Scrolling through ten thousand tenants by the wheel, beside a bare page that scrolls as far. With JOURNAL (see `time.spec.ts`) they
// are there already. Figures are printed and nothing is asserted, since they are the machine's, too.
import type { Page } from '@playwright/test'
import { Server } from '../support/server'
import { login, test as base } from '../support/test'
import { bareTable, many, scrolled, tell } from './measure'

const TENANTS = 10_000
const ROUNDS = 3
const journal = process.env['JOURNAL']

const test = base.extend({
  server: async ({}, use) => {
    const server = await Server.start({ tenants: TENANTS, ...(journal === undefined ? {} : { journal }) })
    // The first request logs in; many at once would be too many logins.
    await server.ask('GET', '/api/journal')
    if (journal === undefined) await many(0, TENANTS, (number) => server.tenant(`tenant-${number}`, `Candidate ${number} for Office`))
    await use(server)
    await server.stop()
  },
})

async function scroll(page: Page, what: string, selector: string): Promise<void> {
  const { frames, long, distance } = await scrolled(page, selector)
  tell(`${what}, ${distance} pixels by the wheel, a frame`, frames)
  process.stdout.write(`bench: ${what}, frames over 50 ms: ${long.length} ${JSON.stringify(long.map(Math.round))}\n`)
}

test('scrolling through all tenants', async ({ page, server, complaints }) => {
  await login(page)
  // What it prepares after a start is no part of this.
  await server.idle()
  for (let round = 0; round < ROUNDS; round += 1) {
    await page.goto('about:blank')
    await bareTable(page, TENANTS)
    await scroll(page, 'bare rows of text', '.bare')
    await page.goto('/#/tenants')
    const isWhole = (count: number): boolean => document.querySelector('[role=grid]')?.getAttribute('aria-rowcount') === String(count + 1)
    await page.waitForFunction(isWhole, TENANTS)
    await scroll(page, `${TENANTS} tenants`, '.table')
  }
  complaints.length = 0
})
