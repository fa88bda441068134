// The build: hashed files into target/dashboard-build; `scripts/finish.mjs` makes target/dashboard of them.
// `npm run dev` serves the sources beside a running control plane: TENANTRY=http://127.0.0.1:32201 npm run dev.
import { defineConfig } from 'vitest/config'

const target = process.env['TENANTRY'] ?? 'http://127.0.0.1:32201'
// The control plane refuses pages of another origin: what comes from this server is its own.
const proxy = { target, changeOrigin: true, ws: true, headers: { origin: target } }

export default defineConfig({
  base: '/dashboard/',
  build: {
    outDir: '../../../target/dashboard-build',
    emptyOutDir: true,
    target: 'es2022',
    cssCodeSplit: false,
    // Inlined files would be `data:` addresses, and the policy forbids most of them.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { '/api': proxy, '/ws': proxy, '/health': proxy } },
  test: { environment: 'happy-dom', include: ['tests/unit/**/*.test.{ts,tsx}'], restoreMocks: true, reporters: ['default', './tests/support/unit-summary.ts'] },
})
