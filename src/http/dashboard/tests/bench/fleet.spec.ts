// The first paint of the overview of a large fleet. Figures are printed and nothing is asserted, since they are the machine's, too.
import type { Page } from '@playwright/test'
import { Server } from '../support/server'
import { login, test as base } from '../support/test'
import { many, tell } from './measure'

const TENANTS = 1000
const INSTANCES = 500
const PAINTS = 10

const test = base.extend({
  server: async ({}, use) => {
    const services = '[service.quiet]\ncommand = "sleep"\nargs = ["100000"]\nsocket = "{data_dir}/run/{id}.sock"\nstartup_timeout = 600\n'
    const server = await Server.start({ tenants: TENANTS, services })
    await use(server)
    await server.stop()
  },
})

/** From the beginning of the navigation until the number of tenants stands there. */
async function paint(page: Page, tenants: number): Promise<{ first: number; whole: number }> {
  await page.goto('about:blank')
  await page.goto('/')
  const whole = await page.waitForFunction((count) => (document.querySelector('.count-total')?.textContent === String(count) ? performance.now() : 0), tenants)
  // A paint is told some time after it was made.
  const first = await page.evaluate(() => new Promise<number>((resolve) => {
    const told = (list: PerformanceObserverEntryList): void => {
      for (const { startTime } of list.getEntriesByName('first-contentful-paint')) resolve(startTime)
    }
    new PerformanceObserver(told).observe({ type: 'paint', buffered: true })
  }))
  return { first, whole: await whole.jsonValue() }
}

test('the overview of a large fleet', async ({ page, server, complaints }) => {
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
  complaints.length = 0
})
