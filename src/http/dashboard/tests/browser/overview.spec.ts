// What the overview tells of what stands wrong, and of names, of those it shows alone.
import fs from 'node:fs'
import { SMALL } from '../support/server'
import { expect, login, test } from '../support/test'

/** An instance that takes three times its quota as soon as it runs. */
const FULL = `[service.full]
command = "sh"
args = ["-c", "head -c 3000000 /dev/zero > big; exec sleep 100000"]
socket = "{data_dir}/run/{id}.sock"
storage_quota_mb = 1
`

test.describe('with a quota', () => {
  test.use({ room: { ...SMALL, services: FULL } })

  test('an instance over its quota is a warning, and the table tells what instances use', async ({ page, server }) => {
    await server.ask('POST', '/api/instances', { service: 'full', id: 'one' })
    const isWritten = (): boolean => fs.readdirSync(server.data, { recursive: true, withFileTypes: true })
      .some((entry) => entry.name === 'big' && fs.statSync(`${entry.parentPath}/big`).size === 3_000_000)
    await expect.poll(isWritten).toBe(true)
    // Directories are looked at once a minute, and when the control plane begins.
    await server.kill()
    await server.serve()
    await login(page)
    const warnings = page.getByRole('region', { name: 'Warnings' })
    await expect(async () => {
      await page.reload()
      await expect(warnings).toContainText('full:one takes 3 MiB of its quota of 1 MiB', { timeout: 5000 })
    }).toPass()
    await page.goto('/#/instances')
    await expect(page.getByRole('row', { name: /^one/ })).toContainText('MiB')
    await page.getByRole('button', { name: 'Memory' }).click()
    await expect(page.getByRole('columnheader', { name: /Memory/ })).toHaveAttribute('aria-sort', 'ascending')
  })
})

test('names of tenants follow what becomes of them, and those deployed are told', async ({ page, server }) => {
  const { id } = await server.tenant('smith', 'John Smith for Senate')
  expect((await server.deployed(id)).status).toBe('success')
  await login(page)
  const deployments = page.getByRole('region', { name: 'Deployments' })
  await expect(deployments.getByRole('link', { name: 'John Smith for Senate' })).toBeVisible()
  const ticker = page.getByRole('list', { name: 'Latest events' })
  await expect(ticker).toContainText('John Smith for Senate')
  await server.ask('PUT', `/api/tenants/${id}`, { name: 'John Smith for President' })
  await expect(ticker).toContainText('John Smith for President')
  await expect(deployments.getByRole('link', { name: 'John Smith for President' })).toBeVisible()
  await expect(page.getByRole('region', { name: 'Tenants' })).toContainText('1 running')
  await server.ask('DELETE', `/api/tenants/${id}`)
  await expect(deployments).toContainText('Nothing was deployed yet')
})
