// A website is analysed, its suggestions stand side by side, and one of them becomes the theme.
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { SMALL } from '../support/server'
import { expect, expectAccessible, login, test as base } from '../support/test'

const PAGE = `<!doctype html><title>Gallrein</title><style>
body { background: #fff; color: #222 } header { background: #7a1f3d; color: #fff } .button { background: #1f7a5c }
</style><header><h1>Ed Gallrein</h1></header><a class="button" href="/give">Give</a>`

type Suggestion = { id: string; name: string; primary_color: string }

/** A website on this machine, and a control plane that may ask it. */
const test = base.extend<{ site: string }>({
  site: async ({}, use) => {
    const site = http.createServer((_, answer) => answer.setHeader('Content-Type', 'text/html').end(PAGE))
    await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve))
    await use(`127.0.0.1:${(site.address() as AddressInfo).port}`)
    await new Promise((resolve) => site.close(resolve))
  },
  room: async ({ site }, use) => use({ ...SMALL, more: `[analyze]\nallow_hosts = ["${site}"]\n` }),
})

test('a website becomes suggestions side by side, and one of them the theme', async ({ page, server, site }) => {
  const { id } = await server.tenant('gallrein', 'Ed Gallrein for State Rep')
  await login(page)
  await page.goto('/#/tenants/gallrein?tab=theme')
  const panel = page.getByRole('region', { name: 'Suggestions' })
  await expect(panel.getByText('No website was analysed yet')).toBeVisible()
  await panel.getByLabel('Website').fill('gallrein')
  await panel.getByRole('button', { name: 'Analyse' }).click()
  await expect(panel.getByText('An address that begins with http:// or https://.')).toBeVisible()
  await panel.getByLabel('Website').fill(`http://${site}/`)
  await panel.getByLabel('With a picture of the page').uncheck()
  await panel.getByRole('button', { name: 'Analyse' }).click()
  await expect(panel.getByText('complete', { exact: true })).toBeVisible()
  const { suggestions } = await server.ask<{ suggestions: Suggestion[] }>('GET', `/api/tenants/${id}/theme/suggestions`)
  expect(suggestions.length).toBeGreaterThan(1)
  await expect(panel.getByRole('img', { name: /^The site as/ })).toHaveCount(suggestions.length)
  await expectAccessible(page)

  // A look changes what is shown, and nothing else.
  const [first, second] = suggestions as [Suggestion, Suggestion]
  const before = await server.ask<Suggestion>('GET', `/api/tenants/${id}/theme`)
  await panel.getByRole('button', { name: `Look at ${second.name}`, exact: true }).click()
  await expect(page.getByLabel('Primary', { exact: true })).toHaveValue(second.primary_color)
  expect((await server.ask<Suggestion>('GET', `/api/tenants/${id}/theme`)).primary_color).toBe(before.primary_color)
  await panel.getByRole('button', { name: `Apply ${first.name}`, exact: true }).click()
  await expect(page.getByText(`“${first.name}” was applied.`)).toBeVisible()
  await expect.poll(async () => (await server.ask<Suggestion>('GET', `/api/tenants/${id}/theme`)).primary_color).toBe(first.primary_color)
  expect(first.primary_color).not.toBe(before.primary_color)
})
