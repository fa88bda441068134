// Tests in a real browser against the real program. `npm run browser`, after `make dashboard` and `cargo build`.
import { defineConfig } from '@playwright/test'
import { chromium } from './tests/support/chromium'

export default defineConfig({
  testDir: 'tests/browser',
  outputDir: '../../../target/dashboard-tests',
  // Each test has a control plane of its own; two cores bear no more than one beside a browser.
  workers: 1,
  // Longer than anything takes on a busy machine; reached only when a test fails.
  timeout: 120_000,
  expect: { timeout: 30_000 },
  forbidOnly: true,
  // A browser on a machine that others load is not always in time. What passes only then is told by the summary.
  retries: process.env['CI'] ? 1 : 0,
  reporter: [['list'], ['./tests/support/summary.ts']],
  use: { browserName: 'chromium', launchOptions: chromium(), viewport: { width: 1280, height: 800 }, locale: 'en-GB', timezoneId: 'UTC' },
})
