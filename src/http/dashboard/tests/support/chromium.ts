// The system's browser. Playwright's own is not downloaded.
import { execFileSync } from 'node:child_process'
import type { LaunchOptions } from '@playwright/test'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome']
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

function found(): string {
  const named = process.env['CHROMIUM']
  if (named) return named
  for (const name of NAMES) {
    try {
      return execFileSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim()
    } catch {
      // The next one.
    }
  }
  throw new Error('no Chromium: install the package chromium, or name one in CHROMIUM')
}

export const chromium = (): LaunchOptions => ({ executablePath: found(), args: FLAGS })
