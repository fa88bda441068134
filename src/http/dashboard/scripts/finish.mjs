// Ends the build: compresses every file, writes the licence texts of what is built in, and
// brings target/dashboard to match. A file that is the same is left alone, so that cargo
// does not build again for nothing.
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import fs from 'node:fs'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const here = dirname(import.meta.dirname)
const from = join(here, '../../../target/dashboard-build')
const to = join(here, '../../../target/dashboard')
// Shorter than this, the headers of an encoding cost more than it saves.
const WORTH = 512

function licenses() {
  const { dependencies } = JSON.parse(fs.readFileSync(join(here, 'package.json'), 'utf8'))
  const names = [...Object.keys(dependencies), '@preact/signals-core'].toSorted()
  const require = createRequire(join(here, 'package.json'))
  const parts = names.map((name) => {
    const folder = require.resolve.paths(name).map((path) => join(path, name)).find((path) => fs.existsSync(path))
    const { version, license } = JSON.parse(fs.readFileSync(join(folder, 'package.json'), 'utf8'))
    const file = fs.readdirSync(folder).find((entry) => /^licen[sc]e/i.test(entry))
    if (!file) throw new Error(`${name} has no licence text`)
    return `${name} ${version} (${license})\n\n${fs.readFileSync(join(folder, file), 'utf8').trim()}\n`
  })
  return `The dashboard of Tenantry holds these works of others.\n\n${parts.join(`\n${'-'.repeat(80)}\n\n`)}`
}

const files = new Map([['assets/licenses.txt', Buffer.from(licenses())]])
files.set('index.html', fs.readFileSync(join(from, 'index.html')))
for (const name of fs.readdirSync(join(from, 'assets'))) {
  files.set(`assets/${name}`, fs.readFileSync(join(from, 'assets', name)))
}
const plain = Array.from(files)
for (const [name, bytes] of plain) {
  if (bytes.length < WORTH) continue
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length }
  files.set(`${name}.br`, brotliCompressSync(bytes, { params }))
  files.set(`${name}.gz`, gzipSync(bytes, { level: 9 }))
}

fs.mkdirSync(join(to, 'assets'), { recursive: true })
for (const name of fs.readdirSync(join(to, 'assets'))) {
  if (!files.has(`assets/${name}`)) fs.rmSync(join(to, 'assets', name))
}
for (const [name, bytes] of files) {
  const path = join(to, name)
  if (fs.existsSync(path) && fs.readFileSync(path).equals(bytes)) continue
  fs.writeFileSync(`${path}.new`, bytes)
  fs.renameSync(`${path}.new`, path)
}
const first = [...files].filter(([name]) => name.endsWith('.br')).reduce((sum, [, bytes]) => sum + bytes.length, 0)
process.stdout.write(`dashboard: ${files.size} files in target/dashboard, ${(first / 1000).toFixed(1)} kB as brotli\n`)
