// One tenant from its page, with the real application.
import type { Page } from '@playwright/test'
import type { Server } from '../support/server'
import { expect, expectAccessible, login, test } from '../support/test'

const TABS = ['Overview', 'Deployments', 'Configuration', 'Theme', 'Logs', 'History'] as const

const open = (page: Page, name: string): Promise<void> => page.getByRole('tab', { name }).click()

/** Waits for a state that the server has, past the page. */
async function status(server: Server, id: string, wanted: string): Promise<void> {
  const ask = async (): Promise<string> => (await server.ask<{ status: string }>('GET', `/api/tenants/${id}`)).status
  await expect.poll(ask, { timeout: 60_000 }).toBe(wanted)
}

test('deploys a tenant, watches it finish, reads what it prints, and stops it', async ({ page, server, complaints }) => {
  await server.tenant('smith', 'John Smith for Senate')
  await login(page)
  await page.goto('/#/tenants')
  await page.getByRole('row', { name: /John Smith/ }).click()
  await expect(page.getByRole('heading', { name: 'John Smith for Senate', level: 1 })).toBeVisible()
  await expect(page.getByText('The application does not run')).toBeVisible()
  await page.getByRole('button', { name: 'Deploy' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Deploy' }).click()
  const steps = page.getByRole('list', { name: 'Steps' })
  await expect(steps.getByRole('listitem')).toHaveCount(6)
  await expect(steps.getByRole('listitem').filter({ hasText: 'Start services' })).toContainText('success', { timeout: 60_000 })
  await expect(steps.getByRole('listitem').filter({ hasText: 'Configure NGINX' })).toContainText('skipped')
  await expect(page.getByRole('log', { name: 'What the steps print' })).toContainText('database ready')
  await expect(page.getByRole('progressbar')).toHaveAttribute('value', '100')
  await expect(page.getByRole('region', { name: 'Releases' })).toContainText('serves')

  await open(page, 'Logs')
  const output = page.getByRole('log', { name: 'Output of the backend' })
  await expect(output).toContainText('backend listening')
  await page.getByLabel('Search lines').fill('listening')
  await expect(output.locator('mark').first()).toHaveText('listening')
  await expect(output).not.toContainText('/health')
  await page.getByRole('button', { name: 'frontend' }).click()
  await expect(page.getByRole('log', { name: 'Output of the frontend' })).toContainText('frontend listening')

  await open(page, 'Overview')
  await expect(page.getByRole('region', { name: 'Its own figures' })).toContainText('persons')
  await expect(page.getByRole('region', { name: 'Health' })).toContainText('HTTP 200')
  await page.getByRole('button', { name: 'Stop' }).click()
  await expect(page.locator('.states')).toContainText('stopped')
  await expect(page.getByText('The application does not run')).toBeVisible()
  await page.getByRole('button', { name: 'Start', exact: true }).click()
  await expect(page.locator('.states')).toContainText('running')
  // Its figures may be asked for before it answers; the browser says so, and the page offers to ask again.
  expect(complaints.splice(0).every((text) => text.includes('503'))).toBe(true)
})

test('changes the environment, and shows no secret again', async ({ page, server }) => {
  const { id } = await server.tenant('smith', 'John Smith for Senate')
  await login(page)
  await page.goto('/#/tenants/smith?tab=config')
  await page.getByLabel('Mail of its administrator').fill('nobody')
  await page.getByRole('button', { name: 'Add variable' }).click()
  await page.getByLabel('Name of new variable').fill('1BAD')
  await page.getByRole('button', { name: 'Save', exact: true }).click()
  await expect(page.getByText('Letters, digits and _, no digit first.')).toBeVisible()
  await page.getByLabel('Name of 1BAD').fill('PAYMENT')
  await page.getByLabel('Value of PAYMENT').fill('swordfish')
  await page.getByLabel('PAYMENT is secret').check()
  await page.getByRole('button', { name: 'Save', exact: true }).click()
  await expect(page.getByText('A mail address, such as ana@example.com.')).toBeVisible()
  await expect(page.getByLabel('Mail of its administrator')).toBeFocused()
  await page.getByLabel('Mail of its administrator').fill('ana@example.com')
  await page.getByRole('button', { name: 'Paste a .env file' }).click()
  await page.getByLabel('Lines of NAME=value').fill('FLAG=on\nbroken')
  await expect(page.getByText('Line 2: NAME=value is expected.')).toBeVisible()
  await page.getByLabel('Lines of NAME=value').fill('FLAG="on" # yes')
  await page.getByRole('button', { name: 'Take them over' }).click()
  await page.getByRole('button', { name: 'Save', exact: true }).click()
  await expect(page.getByText('The configuration was saved.')).toBeVisible()
  await expect(page.getByLabel('Value of PAYMENT')).toHaveValue('')
  await expect(page.getByLabel('Value of PAYMENT')).toHaveAttribute('placeholder', 'hidden, stays as it is')
  await expect(page.getByLabel('Value of FLAG')).toHaveValue('on')

  // A later change sends the secret back as it was shown, and keeps it.
  await page.reload()
  await page.getByLabel('Value of FLAG').fill('off')
  await page.getByRole('button', { name: 'Save', exact: true }).click()
  await expect(page.getByText('The configuration was saved.')).toBeVisible()
  expect(await page.content()).not.toContain('swordfish')
  const config = await server.ask<{ admin_email: string; custom_env: Record<string, string>; secret_env: string[] }>('GET', `/api/tenants/${id}/config`)
  expect(config).toMatchObject({ admin_email: 'ana@example.com', custom_env: { FLAG: 'off', PAYMENT: '***hidden***' }, secret_env: ['PAYMENT'] })
  await server.ask('POST', `/api/tenants/${id}/config/regenerate-env`)
  const written = server.file('tenants/smith/.env')
  expect(written).toContain('swordfish')
})

test('never replaces what somebody types, and says that another was faster', async ({ page, server }) => {
  const { id } = await server.tenant('smith', 'John Smith for Senate')
  await login(page)
  await page.goto('/#/tenants/smith?tab=config')
  await page.getByLabel('Short name').fill('Johnny')
  await server.ask('PUT', `/api/tenants/${id}/config`, { app_name_short: 'Smithy' })
  await expect(page.getByText('Somebody changed the configuration meanwhile.')).toBeVisible()
  await expect(page.getByLabel('Short name')).toHaveValue('Johnny')
  await page.getByRole('button', { name: 'Take theirs and lose mine' }).click()
  await expect(page.getByLabel('Short name')).toHaveValue('Smithy')
  await server.ask('PUT', `/api/tenants/${id}/config`, { app_name_short: 'Smith' })
  await expect(page.getByLabel('Short name')).toHaveValue('Smith')
})

const HOSTILE = `<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20" onload="window.hacked=1">
<script>window.hacked = 1; fetch('/api/tenants')</script><foreignObject><img xmlns="http://www.w3.org/1999/xhtml" src="x" onerror="window.hacked=1"/></foreignObject>
<rect width="40" height="20" fill="#0a0"/></svg>`

test('a hostile logo runs nothing, and hostile names stay text', async ({ page, server, complaints }) => {
  const name = '<img src=x onerror="window.hacked=1"> <script>window.hacked=1</script>'
  const { id } = await server.tenant('smith', name)
  await server.ask('PUT', `/api/tenants/${id}`, { notes: '</dd><script>window.hacked=1</script>' })
  await login(page)
  await page.goto('/#/tenants/smith')
  await expect(page.getByRole('heading', { level: 1 })).toHaveText(name)
  await expect(page.getByText('</dd><script>window.hacked=1</script>')).toBeVisible()
  await open(page, 'Theme')
  const svg = { name: '"><script>.svg', mimeType: 'image/svg+xml', buffer: Buffer.from(HOSTILE) }
  await page.getByLabel('Full', { exact: true }).setInputFiles(svg)
  const logo = page.getByRole('img', { name: 'Full logo' })
  await expect(logo).toBeVisible()
  await expect.poll(() => logo.evaluate((image: HTMLImageElement) => image.naturalWidth)).toBeGreaterThan(0)
  await page.getByLabel('Icon', { exact: true }).setInputFiles({ ...svg, name: 'a.png', mimeType: 'image/png', buffer: Buffer.from('<script>window.hacked=1</script>') })
  await expect(page.locator('.wrong-note').filter({ hasText: /\S/ })).toBeVisible()
  await open(page, 'History')
  await expect(page.getByRole('list', { name: 'History' })).toContainText('theme.updated')
  expect(await page.evaluate(() => 'hacked' in globalThis)).toBe(false)
  expect(await page.locator('main script, main iframe, main object, main svg').count()).toBe(0)
  // The browser itself tells of the refused picture, and of nothing else.
  expect(complaints.splice(0)).toEqual([expect.stringContaining('400')])
})

test('shows colours as they are picked, warns of what is hard to read, and saves', async ({ page, server }) => {
  const { id } = await server.tenant('smith', 'John Smith for Senate')
  await login(page)
  await page.goto('/#/tenants/smith?tab=theme')
  const text = page.getByLabel('Text', { exact: true })
  await text.fill('nothing')
  await page.getByRole('button', { name: 'Save colours' }).click()
  await expect(page.getByText('As #rgb or #rrggbb.')).toBeVisible()
  await text.fill('#999999')
  await expect(page.getByText('Text on white has a contrast of 2.84:1')).toBeVisible()
  await text.fill('#222222')
  await expect(page.getByRole('list', { name: 'Contrast' }).getByRole('listitem')).toHaveCount(0)
  await page.getByLabel('Primary', { exact: true }).fill('#8a1010')
  await expect(page.getByRole('img', { name: 'The site in these colours' }).locator('.preview-bar')).toHaveCSS('background-color', 'rgb(138, 16, 16)')
  await page.getByRole('button', { name: 'Save colours' }).click()
  await expect(page.getByText('The colours were saved and applied.')).toBeVisible()
  await expect(page.getByRole('button', { name: 'Save colours' })).toBeDisabled()
  expect(await server.ask('GET', `/api/tenants/${id}/theme`)).toMatchObject({ primary_color: '#8a1010', text_color: '#222222' })
})

test('the history shows each change, leads to its moment, and takes back what can be', async ({ page, server }) => {
  const { id } = await server.tenant('smith', 'John Smith for Senate')
  await login(page)
  await page.goto('/#/tenants/smith')
  await page.getByRole('button', { name: 'Edit' }).click()
  await page.getByRole('dialog').getByLabel('Name', { exact: true }).fill('Jane Smith for Senate')
  await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click()
  await expect(page.getByRole('heading', { name: 'Jane Smith for Senate', level: 1 })).toBeVisible()
  await open(page, 'History')
  const entries = page.getByRole('list', { name: 'History' }).locator('li.entry')
  const change = entries.filter({ hasText: 'tenant.updated' })
  await expect(change).toContainText('John Smith for Senate')
  await expect(change).toContainText('Jane Smith for Senate')
  await entries.filter({ hasText: 'tenant.created' }).getByRole('button', { name: /^Go there/ }).click()
  await expect(page.getByText('This is the past')).toBeVisible()
  await expect(page.getByRole('heading', { name: 'John Smith for Senate', level: 1 })).toBeVisible()
  await expect(page.getByRole('button', { name: 'Deploy' })).toBeDisabled()
  await page.getByRole('button', { name: 'Return to the present' }).click()
  await change.getByRole('button', { name: /^Undo event/ }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Undo' }).click()
  await expect(page.getByRole('heading', { name: 'John Smith for Senate', level: 1 })).toBeVisible()
  expect((await server.ask<{ name: string }>('GET', `/api/tenants/${id}`)).name).toBe('John Smith for Senate')
})

test('deletes a tenant when its name is typed, and keeps its history', async ({ page, server, complaints }) => {
  const { id } = await server.tenant('smith', 'John Smith for Senate')
  await login(page)
  await page.goto(`/#/tenants/${id}`)
  await page.getByRole('button', { name: 'Delete' }).click()
  const dialog = page.getByRole('dialog')
  await expect(dialog.getByRole('button', { name: 'Delete' })).toBeDisabled()
  await dialog.getByLabel(/to confirm/).fill('smit')
  await expect(dialog.getByRole('button', { name: 'Delete' })).toBeDisabled()
  await dialog.getByLabel(/to confirm/).fill('smith')
  await dialog.getByRole('button', { name: 'Delete' }).click()
  await expect(page.getByText('No tenants yet')).toBeVisible()
  await page.goto(`/#/tenants/${id}`)
  await expect(page.getByText('There is no such tenant')).toBeVisible()
  await expect(page.getByRole('list', { name: 'History' })).toContainText('tenant.deleted')
  // The browser itself tells of what is gone.
  expect(complaints.splice(0).every((text) => text.includes('404'))).toBe(true)
})

test('a viewer is offered nothing that changes anything', async ({ page, server }) => {
  const { id } = await server.tenant('smith', 'John Smith for Senate')
  await server.ask('POST', `/api/tenants/${id}/deploy`, {})
  await status(server, id, 'running')
  await server.ask('POST', '/api/users', { username: 'vera', password: 'just looking around', email: 'vera@example.com', role: 'viewer' })
  await login(page, 'vera', 'just looking around')
  await page.goto('/#/tenants')
  await expect(page.getByRole('row', { name: /John Smith/ })).toBeVisible()
  const offered = page.getByRole('main').getByRole('button', { name: /^(Create|Deploy|Start|Stop|Restart|Delete|Edit|Save|Back up|Undo|Roll back|Try again|Add|Paste|Write|Analyse|Apply|Take away|Cancel)\b/ })
  await expect(offered).toHaveCount(0)
  await page.getByRole('row', { name: /John Smith/ }).click()
  for (const name of TABS) {
    await open(page, name)
    await expect(page.getByRole('tab', { name, selected: true })).toBeVisible()
    await expect(page.getByText('Loading')).toHaveCount(0)
    await expect(offered).toHaveCount(0)
    await expect(page.locator('main input[type=file]')).toHaveCount(0)
  }
  await open(page, 'Overview')
  await page.getByRole('button', { name: 'Check now' }).click()
  await expect(page.getByRole('region', { name: 'Health' })).toContainText('HTTP 200')
})

for (const scheme of ['light', 'dark'] as const) {
  test(`no part of a tenant's page has a serious mistake of accessibility, ${scheme}`, async ({ page, server }) => {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' })
    const { id } = await server.tenant('smith', 'John Smith for Senate')
    await server.ask('PUT', `/api/tenants/${id}/config`, { custom_env: { FLAG: 'on', API_KEY: 'k' } })
    await server.ask('POST', `/api/tenants/${id}/deploy`, {})
    await status(server, id, 'running')
    await login(page)
    await page.goto('/#/tenants/smith')
    for (const name of TABS) {
      await open(page, name)
      await expect(page.getByRole('tab', { name, selected: true })).toBeVisible()
      await expect(page.getByText('Loading')).toHaveCount(0)
      await expectAccessible(page)
    }
    for (const name of ['Deploy', 'Delete']) {
      await page.getByRole('button', { name, exact: true }).click()
      await expect(page.getByRole('dialog')).toBeVisible()
      await expectAccessible(page)
      await page.keyboard.press('Escape')
      await expect(page.getByRole('dialog')).toBeHidden()
    }
  })
}

test('every part of a tenant fits a screen of 400 pixels', async ({ page, server }) => {
  const { id } = await server.tenant('smith', `John ${'very'.repeat(20)} Smith`)
  await server.ask('PUT', `/api/tenants/${id}`, { notes: 'x'.repeat(300) })
  await server.ask('PUT', `/api/tenants/${id}/config`, { custom_env: { [`LONG_${'NAME'.repeat(20)}`]: 'v'.repeat(200) } })
  await server.ask('POST', `/api/tenants/${id}/deploy`, {})
  await status(server, id, 'running')
  await page.setViewportSize({ width: 400, height: 800 })
  await login(page)
  await page.goto('/#/tenants/smith')
  for (const name of TABS) {
    await open(page, name)
    await expect(page.getByRole('tab', { name, selected: true })).toBeVisible()
    await expect(page.getByText('Loading')).toHaveCount(0)
    expect(await page.evaluate(() => document.documentElement.scrollWidth), name).toBeLessThanOrEqual(400)
  }
})
