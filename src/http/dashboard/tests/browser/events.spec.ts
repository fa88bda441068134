// Events: filtered, followed, held back, and one opened with its causes, its proof and its undo.
import { expect, expectAccessible, login, test } from '../support/test'

test('events are filtered and followed, and a pause holds new ones back', async ({ page, server }) => {
  const { id } = await server.tenant('smith', 'John Smith for Senate')
  await login(page)
  await page.goto('/#/events?kind=tenant.')
  const rows = page.getByRole('grid', { name: 'Events' }).getByRole('row')
  await expect(rows.filter({ hasText: 'tenant.created' })).toHaveCount(1)
  await expect(rows.filter({ hasText: 'system.started' })).toHaveCount(0)
  await server.ask('PUT', `/api/tenants/${id}`, { name: 'John Smith for President' })
  await expect(rows.filter({ hasText: 'tenant.updated' })).toHaveCount(1)
  await page.getByRole('button', { name: 'Pause' }).click()
  await server.ask('PUT', `/api/tenants/${id}`, { name: 'John Smith for Mayor' })
  await expect(page.getByRole('button', { name: 'Follow again (1 new)' })).toBeVisible()
  await expect(rows.filter({ hasText: 'tenant.updated' })).toHaveCount(1)
  await page.getByRole('button', { name: 'Follow again (1 new)' }).click()
  await expect(rows.filter({ hasText: 'tenant.updated' })).toHaveCount(2)
  await page.getByLabel('Kind').fill('port.')
  await page.keyboard.press('Enter')
  await expect(rows.filter({ hasText: 'port.allocated' })).not.toHaveCount(0)
  await expect(rows.filter({ hasText: 'tenant.' })).toHaveCount(0)
  await page.getByRole('button', { name: 'Show all' }).click()
  await expect(rows.filter({ hasText: 'tenant.created' })).toHaveCount(1)
})

test('an event shows what it led to, and its proof is verified in the browser', async ({ page, server }) => {
  const { id } = await server.tenant('smith', 'John Smith for Senate')
  await server.ask('PUT', `/api/tenants/${id}`, { name: 'John Smith for President' })
  const { events } = await server.ask<{ events: { seq: number }[] }>('GET', `/api/events?kind=tenant.updated`)
  const seq = events[0]?.seq ?? 0
  await login(page)
  await page.goto(`/#/events/${seq}`)
  const proof = page.getByRole('region', { name: 'Proof' })
  await expect(proof.getByText('verified here')).toBeVisible()
  await expect(proof.getByText('holds', { exact: true })).toHaveCount(3)
  await expect(page.getByLabel('Causes and effects').getByText('tenant.updated')).toBeVisible()
  await page.getByRole('button', { name: 'Undo…' }).click()
  const dialog = page.getByRole('dialog')
  await expect(dialog.getByText('tenant.updated')).toHaveCount(2)
  await expectAccessible(page)
  await dialog.getByRole('button', { name: 'Undo', exact: true }).click()
  await expect(dialog).toBeHidden()
  // The undo answers the event: it stands above it in the tree.
  await expect(page.getByLabel('Causes and effects').getByRole('link', { name: 'tenant.updated' })).toHaveAttribute('href', `#/events/${seq}`)
  const { name } = await server.ask<{ name: string }>('GET', `/api/tenants/${id}`)
  expect(name).toBe('John Smith for Senate')
})

test('bytes that are not those of the journal do not pass', async ({ page, server }) => {
  await server.tenant('smith', 'John Smith for Senate')
  await login(page)
  await page.route('**/api/events/2?raw=true', async (route) => {
    const answer = await route.fetch()
    const body = await answer.body()
    body[body.length - 1] = (body[body.length - 1] ?? 0) ^ 1
    await route.fulfill({ response: answer, body })
  })
  await page.goto('/#/events/2')
  const proof = page.getByRole('region', { name: 'Proof' })
  await expect(proof.getByText('not verified')).toBeVisible()
  await expect(proof.getByText('does not hold')).toHaveCount(2)
})

for (const colorScheme of ['light', 'dark'] as const) {
  test(`events are accessible and fit a narrow screen, ${colorScheme}`, async ({ page, server }) => {
    await page.emulateMedia({ colorScheme })
    await server.tenant('smith', 'John Smith for Senate')
    await login(page)
    for (const [address, sign] of [['/#/events', 'tenant.created'], ['/#/events/2', 'verified here']] as const) {
      await page.setViewportSize({ width: 1280, height: 800 })
      await page.goto(address)
      await expect(page.getByText(sign).first()).toBeVisible()
      await expectAccessible(page)
      await page.setViewportSize({ width: 400, height: 800 })
      expect(await page.evaluate(() => document.documentElement.scrollWidth), address).toBeLessThanOrEqual(400)
    }
  })
}
