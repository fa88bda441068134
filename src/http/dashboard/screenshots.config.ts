// Pictures of every page: `make screenshots`.
import { defineConfig } from '@playwright/test'
import base from './playwright.config'

export default defineConfig({ ...base, testDir: 'tests/screenshots', outputDir: '../../../target/dashboard-tests' })
