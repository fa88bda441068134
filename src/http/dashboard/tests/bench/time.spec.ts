// From the slider's rest to the page turned, over a long journal: JOURNAL is a data directory with one, such as
// `cargo bench -p tenantry-journal --bench history -- 1000000 10000 DIR` leaves. Figures are printed and nothing is asserted.
import type { Page } from '@playwright/test'
import { Server } from '../support/server'
import { login, test as base } from '../support/test'
import { tell } from './measure'

const TURNS = 30
const journal = process.env['JOURNAL']

const test = base.extend({
  server: async ({}, use) => {
    const server = await Server.start({ tenants: 10_000, ...(journal === undefined ? {} : { journal }) })
    await use(server)
    await server.stop()
  },
})

/** To moments all over the journal, in an order that goes back and forth. */
async function turns(page: Page, head: number): Promise<number[]> {
  for (let turn = 1; turn <= TURNS; turn += 1) {
    const share = ((turn * 0.618_034) % 1) * 0.98 + 0.01
    await page.getByRole('slider', { name: 'Moment' }).fill(String(Math.floor(head * share)))
    await page.waitForFunction((count) => performance.getEntriesByName('time:turn').length >= count, turn)
  }
  return page.evaluate(() => performance.getEntriesByName('time:turn').map(({ duration }) => duration))
}

test('the slider over a long journal', async ({ page, server, complaints }) => {
  test.skip(journal === undefined, 'JOURNAL names no data directory')
  const { head_seq: head } = await server.ask<{ head_seq: number }>('GET', '/api/journal')
  await login(page)
  // Worlds of the past are kept at hand some seconds after a start.
  await server.idle()
  for (const [name, path] of [['Overview', '/'], ['Tenants', '/tenants'], ['a tenant', '/tenants/campaign-7'], ['Events', '/events'], ['Instances', '/instances']] as const) {
    await page.goto(`/#${path}`)
    await page.waitForFunction(() => document.querySelector('main .loading') === null)
    await page.evaluate(() => performance.clearMeasures())
    tell(`from the slider's rest to ${name} turned, ${head} events`, await turns(page, head))
    await page.getByRole('button', { name: 'Back to now' }).click()
  }
  complaints.length = 0
})
