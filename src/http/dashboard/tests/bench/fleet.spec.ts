// A large fleet in the browser: the first paint of the overview, scrolling through all tenants, turning the page to
// another moment. Figures are printed and nothing is asserted, since they are the machine's, too.
import type { Page } from '@playwright/test'
import { Server } from '../support/server'
import { login, test as base } from '../support/test'

const TENANTS = 1000
const MANY_TENANTS = 10_000
const INSTANCES = 500
const AT_ONCE = 16
const PAINTS = 5
const TURNS = 20

const test = base.extend({
  server: async ({}, use) => {
    const services = '[service.quiet]\ncommand = "sleep"\nargs = ["100000"]\nsocket = "{data_dir}/run/{id}.sock"\nstartup_timeout = 600\n'
    const server = await Server.start({ tenants: MANY_TENANTS, services })
    await use(server)
    await server.stop()
  },
})

async function many(first: number, last: number, make: (number: number) => Promise<unknown>): Promise<void> {
  let next = first
  const worker = async (): Promise<void> => {
    while (next < last) {
      next += 1
      await make(next)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}

const tell = (what: string, figures: number[], unit = 'ms'): void => {
  const sorted = figures.toSorted((a, b) => a - b)
  const at = (share: number): string => (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN).toFixed(0)
  process.stdout.write(`bench: ${what}: median ${at(0.5)} ${unit}, most ${at(1)} ${unit} of ${sorted.length}\n`)
}

/** From the beginning of the navigation until the number of tenants stands there. */
async function paint(page: Page, tenants: number): Promise<{ first: number; whole: number }> {
  await page.goto('about:blank')
  await page.goto('/')
  const whole = await page.waitForFunction((count) => (document.querySelector('.count-total')?.textContent === String(count) ? performance.now() : 0), tenants)
  const first = await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? Number.NaN)
  return { first, whole: await whole.jsonValue() }
}

/** How long each frame took while the table is scrolled through. */
const frames = (page: Page): Promise<number[]> =>
  page.evaluate(() => new Promise<number[]>((resolve) => {
    const table = document.querySelector('.table') as HTMLElement
    const found: number[] = []
    let last = performance.now()
    const step = (now: number): void => {
      found.push(now - last)
      last = now
      table.scrollTop += 900
      if (table.scrollTop + table.clientHeight >= table.scrollHeight - 1 || found.length > 600) resolve(found.slice(1))
      else requestAnimationFrame(step)
    }
    requestAnimationFrame(step)
  }))

async function turns(page: Page, head: number): Promise<number[]> {
  for (let turn = 1; turn <= TURNS; turn += 1) {
    await page.getByRole('slider', { name: 'Moment' }).fill(String(Math.floor((head * turn) / (TURNS + 1))))
    await page.waitForFunction((count) => performance.getEntriesByName('time:turn').length >= count, turn)
  }
  return page.evaluate(() => performance.getEntriesByName('time:turn').map(({ duration }) => duration))
}

test('a large fleet', async ({ page, server, complaints }) => {
  const tenant = (number: number): Promise<unknown> => server.tenant(`tenant-${number}`, `Candidate ${number} for Office`)
  // The first request logs in; many at once would be too many logins.
  await server.ask('GET', '/api/journal')
  await many(0, INSTANCES, (number) => server.ask('POST', '/api/instances', { service: 'quiet', id: `user${number}` }))
  await many(0, TENANTS, tenant)
  await login(page)
  const paints = []
  for (let time = 0; time < PAINTS; time += 1) paints.push(await paint(page, TENANTS))
  tell(`overview, ${TENANTS} tenants and ${INSTANCES} instances, first contentful paint`, paints.map(({ first }) => first))
  tell(`overview, ${TENANTS} tenants and ${INSTANCES} instances, its numbers are there`, paints.map(({ whole }) => whole))

  await many(TENANTS, MANY_TENANTS, tenant)
  await page.goto('/#/tenants')
  await page.getByText(String(MANY_TENANTS), { exact: true }).waitFor()
  tell(`frames while scrolling through ${MANY_TENANTS} tenants`, await frames(page))

  const { head_seq: head } = await server.ask<{ head_seq: number }>('GET', '/api/journal')
  for (const name of ['Tenants', 'Events', 'Overview']) {
    await page.getByRole('link', { name, exact: true }).click()
    await page.evaluate(() => performance.clearMeasures())
    tell(`from the slider's rest to ${name} turned, ${head} events`, await turns(page, head))
    await page.getByRole('button', { name: 'Back to now' }).click()
  }
  complaints.length = 0
})
