// What is done to a deployment beside beginning it: called off, taken up again, rolled back.
import fs from 'node:fs'
import type { Page } from '@playwright/test'
import type { Server } from '../support/server'
import { expect, login, test } from '../support/test'

/** What prepares a release waits for a file, or fails for as long as one is not there. */
const waiting = (gate: string): string => `import os, time
print("waits at the gate", flush=True)
while not os.path.exists(${JSON.stringify(gate)}):
    time.sleep(0.05)
`
const failing = (gate: string): string => `import os, sys
if not os.path.exists(${JSON.stringify(gate)}):
    sys.exit("the gate is closed")
`

const shown = (page: Page) => page.getByRole('region', { name: 'The deployment' })

/** Opens the deployments of a tenant whose releases are not prepared at once, and has it deployed. */
async function begin(page: Page, server: Server, init: string): Promise<string> {
  const { id } = await server.tenant('smith', 'John Smith for Senate', server.campaign('gated', init))
  await login(page)
  await page.goto('/#/tenants/smith?tab=deployments')
  await page.getByRole('button', { name: 'Deploy' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Deploy' }).click()
  return id
}

const statuses = async (server: Server, id: string): Promise<string[]> => {
  const { deployments } = await server.ask<{ deployments: { status: string }[] }>('GET', `/api/tenants/${id}/deployments`)
  return deployments.map(({ status }) => status)
}

test('a deployment that runs is called off', async ({ page, server }) => {
  const id = await begin(page, server, waiting(server.path('gate')))
  await expect(page.getByRole('log', { name: 'What the steps print' })).toContainText('waits at the gate')
  expect(await statuses(server, id)).toEqual(['running'])
  await shown(page).getByRole('button', { name: 'Cancel' }).click()
  await expect(shown(page).getByText('cancelled').first()).toBeVisible()
  await expect(shown(page).getByRole('button', { name: 'Cancel' })).toHaveCount(0)
  expect(await statuses(server, id)).toEqual(['cancelled'])
})

test('a deployment that failed is taken up again', async ({ page, server }) => {
  const gate = server.path('gate')
  const id = await begin(page, server, failing(gate))
  await expect(shown(page).getByRole('button', { name: 'Try again' })).toBeVisible()
  await expect(shown(page).getByRole('list', { name: 'Steps' })).toContainText('failed')
  expect(await statuses(server, id)).toEqual(['failed'])
  fs.writeFileSync(gate, '')
  await shown(page).getByRole('button', { name: 'Try again' }).click()
  await expect(page.getByRole('progressbar')).toHaveAttribute('value', '100')
  await expect(page.getByRole('region', { name: 'Releases' })).toContainText('serves')
  expect(await statuses(server, id)).toEqual(['success'])
})

test('a tenant is rolled back to an earlier release, after a question', async ({ page, server }) => {
  const { id } = await server.tenant('smith', 'John Smith for Senate')
  const first = await server.deployed(id)
  const second = await server.deployed(id)
  expect([first.status, second.status]).toEqual(['success', 'success'])
  await login(page)
  await page.goto('/#/tenants/smith?tab=deployments')
  const releases = page.getByRole('region', { name: 'Releases' })
  const release = (number: number) => releases.getByRole('listitem').filter({ hasText: `Release ${number}` })
  await expect(release(second.release)).toContainText('serves')
  await releases.getByRole('button', { name: `Roll back to release ${first.release}` }).click()
  const dialog = page.getByRole('dialog')
  await expect(dialog).toContainText('The database is not taken back.')
  expect(await statuses(server, id)).toHaveLength(2)
  await dialog.getByRole('button', { name: 'Roll back' }).click()
  await expect(shown(page).getByRole('heading', { name: /a rollback$/ })).toBeVisible()
  await expect(release(first.release)).toContainText('serves')
  await expect(page.getByRole('progressbar')).toHaveAttribute('value', '100')
  const all = await server.ask<{ releases: { release: number; current: boolean }[] }>('GET', `/api/tenants/${id}/releases`)
  expect(all.releases.find(({ current }) => current)?.release).toBe(first.release)
})
