// Instances: seen to turn, restarted, weighed, their output followed and searched, stopped.
import type { Server } from '../support/server'
import { expect, expectAccessible, login, test } from '../support/test'

const SAID = 'info it is up and well\nwarn the disk is nearly full\nerror the database went away'

const spawn = (server: Server, id: string, env: Record<string, string> = {}): Promise<unknown> => server.ask('POST', '/api/instances', { service: 'api', id, env })

test('the table shows instances as they turn, and opens one', async ({ page, server, complaints }) => {
  await login(page)
  await page.goto('/#/instances')
  await expect(page.getByText('No instances')).toBeVisible()
  await spawn(server, 'one')
  const row = page.getByRole('row', { name: /^one/ })
  await expect(row).toContainText('running')
  await expect(row).toContainText('healthy')
  await row.click()
  await expect(page.getByRole('heading', { name: 'api:one' })).toBeVisible()
  await page.getByLabel('Weight, 0 to 100').fill('101')
  await expect(page.getByText('A number from 0 to 100')).toBeVisible()
  await page.getByLabel('Weight, 0 to 100').fill('40')
  await page.getByRole('button', { name: 'Set', exact: true }).click()
  await expect(page.getByText('api:one has weight 40')).toBeVisible()
  await server.ask('DELETE', '/api/instances/api/one')
  await expect(page.getByText('This could not be loaded')).toBeVisible()
  // A measurement may have been asked for before the page knew.
  expect(complaints.splice(0).filter((text) => !text.includes('404'))).toEqual([])
})

test('output comes as it is printed, with its levels, and is searched', async ({ page, server }) => {
  await spawn(server, 'one', { SAY: SAID })
  await login(page)
  await page.goto('/#/instances/api/one')
  const log = page.getByRole('log', { name: 'Output' })
  await expect(log.getByText('the database went away')).toHaveCount(1)
  await expect(log.locator('.level-error')).toHaveCount(1)
  await page.getByRole('button', { name: 'Restart' }).click()
  await expect(log.getByText('the database went away')).toHaveCount(2)
  await page.getByLabel('Level').selectOption('warn')
  await expect(log.getByText('it is up and well')).toHaveCount(0)
  await expect(log.getByText('the disk is nearly full')).toHaveCount(2)
  await page.getByLabel('Level').selectOption('')
  await page.getByRole('button', { name: 'Pause' }).click()
  await server.ask('POST', '/api/instances/api/one/restart')
  await expect(page.getByRole('button', { name: 'Follow again (3 new)' })).toBeVisible()
  await expect(log.getByText('the database went away')).toHaveCount(2)
  await page.getByLabel('Search the output').fill('disk full')
  // What was just printed may not be indexed yet.
  const found = page.getByRole('log', { name: 'Found lines' })
  await expect(async () => {
    await page.keyboard.press('Enter')
    await expect(found.locator('.log-line')).toHaveCount(3, { timeout: 2000 })
  }).toPass()
  await expect(found.locator('mark')).toHaveText(['disk', 'full', 'disk', 'full', 'disk', 'full'])
  await page.getByRole('button', { name: 'Back to what comes' }).click()
  await page.getByRole('button', { name: /Follow again/ }).click()
  await expect(log.getByText('the database went away')).toHaveCount(3)
})

test('an instance is stopped by its name, and is gone from the table', async ({ page, server, complaints }) => {
  await spawn(server, 'one')
  await spawn(server, 'two')
  await login(page)
  await page.goto('/#/instances/api/one')
  await page.getByRole('button', { name: 'Stop…' }).click()
  const dialog = page.getByRole('dialog')
  await expect(dialog.getByRole('button', { name: 'Stop', exact: true })).toBeDisabled()
  await dialog.getByLabel('Type api:one to confirm').fill('api:one')
  await dialog.getByRole('button', { name: 'Stop', exact: true }).click()
  await expect(page.getByRole('row', { name: /^two/ })).toBeVisible()
  await expect(page.getByRole('row', { name: /^one/ })).toBeHidden()
  expect(complaints.splice(0).filter((text) => !text.includes('404'))).toEqual([])
})

for (const colorScheme of ['light', 'dark'] as const) {
  test(`instances are accessible, draw their charts and fit a narrow screen, ${colorScheme}`, async ({ page, server }) => {
    await page.emulateMedia({ colorScheme })
    await spawn(server, 'one', { SAY: SAID })
    await login(page)
    for (const [address, sign] of [['/#/instances', 'healthy'], ['/#/instances/api/one', 'the database went away']] as const) {
      await page.setViewportSize({ width: 1280, height: 800 })
      await page.goto(address)
      await expect(page.getByRole('main').locator('.badge, .log-text').filter({ hasText: sign }).first()).toBeVisible()
      if (address.endsWith('one')) await expect(page.getByRole('img', { name: /^Memory of the last hour/ })).toBeVisible()
      await expectAccessible(page)
      await page.setViewportSize({ width: 400, height: 800 })
      expect(await page.evaluate(() => document.documentElement.scrollWidth), address).toBeLessThanOrEqual(400)
    }
  })
}
