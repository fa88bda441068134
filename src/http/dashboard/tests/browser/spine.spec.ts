// The way through the dashboard that everybody takes: in, look, create, find, out.
import { PASSWORD } from '../support/server'
import { expect, expectAccessible, login, test } from '../support/test'

test('logs in, creates a tenant, finds it in the table and logs out', async ({ page }) => {
  await login(page)
  await expect(page.getByText('Everything is well')).toBeVisible()
  await expect(page.getByRole('region', { name: 'Events', exact: true }).getByText('system.started')).toBeVisible()
  await page.keyboard.press('g')
  await page.keyboard.press('t')
  await expect(page.getByRole('heading', { name: 'Tenants' })).toBeVisible()
  await page.getByRole('button', { name: 'Create tenant' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Name', { exact: true }).fill('Mara <b>Lindqvist</b> for Mayor')
  await dialog.getByLabel('Domain', { exact: true }).fill('Not A Host')
  await expect(dialog.getByLabel('Slug')).toHaveValue('mara-b-lindqvist-b-for-mayor')
  await dialog.getByRole('button', { name: 'Create', exact: true }).click()
  await expect(dialog.getByLabel('Domain', { exact: true })).toBeFocused()
  await expect(dialog.getByText('A lower-case host name, such as app.example.com.')).toBeVisible()
  await dialog.getByLabel('Domain', { exact: true }).fill('mara.localhost')
  await dialog.getByRole('button', { name: 'Create', exact: true }).click()
  await expect(dialog).toBeHidden()
  const row = page.getByRole('row', { name: /Lindqvist/ })
  await expect(row).toContainText('Mara <b>Lindqvist</b> for Mayor')
  await expect(row).toContainText('pending')
  await page.keyboard.press('/')
  await page.keyboard.type('nobody')
  await expect(row).toBeHidden()
  await expect(page.getByText('No tenant matches')).toBeVisible()
  await page.getByRole('button', { name: 'Log out' }).click()
  await expect(page.getByRole('button', { name: 'Log in' })).toBeVisible()
  expect(await page.evaluate(() => sessionStorage.length)).toBe(0)
})

test('shows what others change, without being asked', async ({ page, server }) => {
  await login(page)
  await page.goto('/#/tenants')
  await expect(page.getByText('No tenants yet')).toBeVisible()
  await server.tenant('smith', 'John Smith for Senate')
  await expect(page.getByRole('row', { name: /John Smith/ })).toBeVisible()
})

test('says at the field what the server refuses', async ({ page, server, complaints }) => {
  await server.tenant('taken', 'The first')
  await login(page)
  await page.goto('/#/tenants')
  await page.getByRole('button', { name: 'Create tenant' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Name', { exact: true }).fill('The second')
  await dialog.getByLabel('Slug').fill('taken')
  await dialog.getByLabel('Domain', { exact: true }).fill('second.localhost')
  await dialog.getByRole('button', { name: 'Create', exact: true }).click()
  await expect(dialog.getByText("slug 'taken' belongs to another tenant")).toBeVisible()
  await expect(dialog.getByLabel('Slug')).toHaveAttribute('aria-invalid', 'true')
  // The browser itself tells of the refusal.
  expect(complaints.splice(0).every((text) => text.includes('409'))).toBe(true)
})

test('an ended login leads back to the login page, and from there to the same place', async ({ page, server, complaints }) => {
  await login(page)
  await page.goto('/#/tenants')
  await expect(page.getByText('No tenants yet')).toBeVisible()
  const { users } = await server.ask<{ users: { id: string }[] }>('GET', '/api/users')
  await server.ask('PUT', `/api/users/${users[0]?.id}/password`, { password: 'another horse entirely', current_password: PASSWORD })
  await expect(page.getByText('Your login has ended. Log in again.')).toBeVisible()
  await page.getByLabel('User name').fill('admin')
  await page.getByLabel('Password').fill('another horse entirely')
  await page.getByRole('button', { name: 'Log in' }).click()
  await expect(page.getByText('No tenants yet')).toBeVisible()
  expect(complaints.splice(0).every((text) => text.includes('401') || text.includes('WebSocket'))).toBe(true)
})

test('the past shows what was so then, and nothing can be changed in it', async ({ page, server }) => {
  const { head_seq: before } = await server.ask<{ head_seq: number }>('GET', '/api/journal')
  await server.tenant('smith', 'John Smith for Senate')
  await login(page)
  await page.goto('/#/tenants')
  await expect(page.getByRole('row', { name: /John Smith/ })).toBeVisible()
  await page.goto(`/#/tenants?as_of=${before}`)
  await expect(page.getByText('This is the past')).toBeVisible()
  await expect(page.getByText('No tenants yet')).toBeVisible()
  await expect(page.getByRole('button', { name: 'Create tenant' })).toBeDisabled()
  await page.getByRole('link', { name: 'Overview' }).click()
  await expect(page.getByText('This is the past')).toBeVisible()
  await page.getByRole('button', { name: 'Return to the present' }).click()
  await page.getByRole('link', { name: 'Tenants' }).click()
  await expect(page.getByRole('row', { name: /John Smith/ })).toBeVisible()
})

test('a lost connection is shown and mended, and nothing is missed', async ({ page, server, complaints }) => {
  await login(page)
  await page.goto('/#/tenants')
  await expect(page.getByText('Live', { exact: true })).toBeVisible()
  await server.kill()
  await expect(page.getByText('Connection lost, trying again')).toBeVisible()
  await server.serve()
  await server.tenant('smith', 'John Smith for Senate')
  await expect(page.getByRole('row', { name: /John Smith/ })).toBeVisible()
  await expect(page.getByText('Live', { exact: true })).toBeVisible()
  // Refused connections stand in the console; that is the browser's own word.
  expect(complaints.splice(0).every((text) => /ERR_|WebSocket/.test(text))).toBe(true)
})

for (const scheme of ['light', 'dark'] as const) {
  test(`no page has a serious mistake of accessibility, ${scheme}`, async ({ page, server }) => {
    await page.emulateMedia({ colorScheme: scheme })
    await page.goto('/')
    await expectAccessible(page)
    await server.tenant('smith', 'John Smith for Senate')
    await login(page)
    await expect(page.getByText('tenant.created')).toBeVisible()
    await expectAccessible(page)
    await page.goto('/#/tenants')
    await expect(page.getByRole('row', { name: /John Smith/ })).toBeVisible()
    await expectAccessible(page)
    await page.getByRole('button', { name: 'Create tenant' }).click()
    await expectAccessible(page)
  })
}

test('every page fits a screen of 400 pixels', async ({ page, server }) => {
  await server.tenant('smith', 'John Smith for Senate')
  await page.setViewportSize({ width: 400, height: 800 })
  await login(page)
  for (const name of ['Overview', 'Tenants']) {
    await page.getByRole('link', { name }).click()
    await expect(page.getByRole('heading', { name, level: 1 })).toBeAttached()
    const width = await page.evaluate(() => document.documentElement.scrollWidth)
    expect(width, name).toBeLessThanOrEqual(400)
  }
})

test('the policy lets no text become markup and no style be inline, and these tests hear of it', async ({ page, complaints }) => {
  await page.goto('/')
  const isRefused = await page.evaluate(() => {
    document.body.setAttribute('style', 'color: red')
    try {
      document.body.innerHTML = '<b>markup</b>'
      return false
    } catch {
      return true
    }
  })
  expect(isRefused).toBe(true)
  for (const directive of ['require-trusted-types-for', 'style-src']) {
    await expect.poll(() => complaints.some((text) => text.startsWith(`policy: ${directive}`)), { message: directive }).toBe(true)
  }
  complaints.length = 0
})
