// Every page as a picture, in light, dark and narrow, of a small fleet with something wrong in it.
import { login, test, expect } from '../support/test'

const TO = '../../../target/screenshots'
const LOOKS = [
  { look: 'light', colorScheme: 'light', width: 1280, height: 800 },
  { look: 'dark', colorScheme: 'dark', width: 1280, height: 800 },
  { look: 'narrow', colorScheme: 'light', width: 400, height: 800 },
] as const

test('pictures of every page', async ({ page, server, complaints }) => {
  const names = ['Ed Gallrein for State Rep', 'John Smith for Senate', 'Mara Lindqvist for Mayor', 'Ana Ruiz for School Board', 'Priya Nair for City Council', 'Tom Okafor for Sheriff']
  for (const [place, name] of names.entries()) {
    const slug = name.toLowerCase().split(' ').slice(0, 2).join('-')
    const { id } = await server.tenant(slug, name)
    if (place < 4) await server.ask('POST', `/api/tenants/${id}/deploy`, {})
  }
  for (const id of ['user1', 'user2', 'user3']) await server.ask('POST', '/api/instances', { service: 'api', id })
  await expect.poll(async () => {
    const { tenants } = await server.ask<{ tenants: { status: string }[] }>('GET', '/api/tenants?status=running')
    return tenants.length
  }, { timeout: 60_000 }).toBe(4)
  // A failed login is a warning.
  await fetch(`${server.url}/api/auth/login`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"username":"admin","password":"wrong"}' })

  await page.goto('/')
  await page.screenshot({ path: `${TO}/login-light.png` })
  await login(page)
  const links = await page.getByRole('navigation').getByRole('link').all()
  const pages = await Promise.all(links.map(async (link) => ({ title: await link.innerText(), address: (await link.getAttribute('href')) ?? '' })))
  for (const { look, colorScheme, width, height } of LOOKS) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    await page.setViewportSize({ width, height })
    for (const { title, address } of pages) {
      await page.goto(`/${address}`)
      await expect(page.getByRole('heading', { name: title, level: 1 })).toBeAttached()
      await page.waitForLoadState('load')
      await expect(page.getByText('Loading')).toHaveCount(0)
      await page.screenshot({ path: `${TO}/${title.toLowerCase()}-${look}.png` })
    }
  }
  const { head_seq: head } = await server.ask<{ head_seq: number }>('GET', '/api/journal')
  const past = Math.floor(head / 2)
  const details = [
    ['event', `/#/events/${past}`, 'verified here'], ['instance', '/#/instances/api/user1', 'Output'], ['past', `/#/?as_of=${past}`, 'This is the past'],
  ] as const
  for (const { look, colorScheme, width, height } of LOOKS) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    await page.setViewportSize({ width, height })
    for (const [name, address, sign] of details) {
      await page.goto(address)
      await expect(page.getByText(sign).first()).toBeVisible()
      await expect(page.getByText('Loading')).toHaveCount(0)
      await page.screenshot({ path: `${TO}/${name}-${look}.png`, fullPage: name !== 'past' })
    }
  }
  await page.emulateMedia({ colorScheme: 'light' })
  await page.setViewportSize({ width: 1280, height: 800 })
  await page.getByRole('button', { name: 'Restore a tenant to here' }).click()
  await page.getByRole('dialog').getByRole('button', { name: /Gallrein/ }).click()
  await expect(page.getByRole('dialog').getByText('Type ed-gallrein')).toBeVisible()
  await page.screenshot({ path: `${TO}/restore-light.png` })
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click()
  await page.goto('/#/tenants')
  await page.getByRole('button', { name: 'Create tenant' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Create', exact: true }).click()
  await page.screenshot({ path: `${TO}/create-light.png` })
  complaints.length = 0
})
