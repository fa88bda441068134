// The page of nginx, with a real one: its sites, its test, and having it read them again. And what the overview tells of certificates.
import { Front } from '../support/front'
import { SMALL } from '../support/server'
import { expect, expectAccessible, login, test as base } from '../support/test'

const test = base.extend<{ front: Front | null }>({
  front: async ({}, use) => {
    const front = await Front.start()
    await use(front)
    front?.stop()
  },
  room: async ({ front }, use) => use(front === null ? SMALL : { ...SMALL, front }),
})

test('sites are listed, tested and read again', async ({ page, server, front, complaints }) => {
  test.skip(front === null, 'nginx is missing')
  if (front === null) return
  const { id } = await server.tenant('smith', 'John Smith for Senate')
  expect((await server.deployed(id)).status).toBe('success')
  await login(page)
  await page.goto('/#/nginx')
  const row = page.getByRole('row', { name: /^smith\.localhost/ })
  await expect(row).toContainText('enabled')
  await row.getByRole('link', { name: 'John Smith for Senate' }).click()
  await expect(page.getByRole('heading', { name: 'John Smith for Senate', level: 1 })).toBeVisible()
  await page.goto('/#/nginx')

  const test1 = page.getByRole('region', { name: 'Test' })
  await expect(test1).toHaveCount(0)
  await page.getByRole('button', { name: 'Test', exact: true }).click()
  await expect(test1.getByText('valid', { exact: true })).toBeVisible()
  await expect(test1).toContainText('syntax is ok')
  await expectAccessible(page)

  // Somebody else's site is served only when nginx has read it.
  front.foreign('other', front.answering('other.localhost', 'from elsewhere'))
  expect(await front.get('other.localhost', '/')).not.toContain('from elsewhere')
  await page.getByRole('button', { name: 'Reload' }).click()
  await expect(page.getByRole('status').filter({ hasText: /reload/i })).toBeVisible()
  await expect.poll(() => front.get('other.localhost', '/')).toContain('from elsewhere')

  front.foreign('broken', 'server { listen nowhere at all; }\n')
  await page.getByRole('button', { name: 'Test', exact: true }).click()
  await expect(test1.getByText('not valid', { exact: true })).toBeVisible()
  await expect(test1).toContainText('nowhere')
  expect(complaints).toEqual([])
  await page.getByRole('button', { name: 'Reload' }).click()
  // The browser itself tells of the refused reload.
  await expect.poll(() => complaints.splice(0).some((text) => /status of [45]/.test(text))).toBe(true)
  await expect(test1).toContainText('sites-enabled/broken')
  expect(await front.get('other.localhost', '/')).toContain('from elsewhere')

  await page.goto('/')
  await expect(page.getByRole('region', { name: 'Certificates that end first' })).toContainText('smith.localhost')
})
