// Makes src/api/schema.d.ts of the OpenAPI document, when the document is another than it was made of.
// The document is the committed one, which a test of the program compares with what it serves: nothing is asked of the network.
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import { dirname, join } from 'node:path'

const here = dirname(import.meta.dirname)
const document = join(here, '../openapi/openapi.json')
const made = join(here, 'src/api/schema.d.ts')

// By what they say and not by their times, which a checkout or a copy makes new. The lock file names the generator's version.
const hash = createHash('sha256')
for (const file of [document, join(here, 'package-lock.json'), import.meta.filename]) hash.update(fs.readFileSync(file))
const mark = `// Made by scripts/types.mjs; do not edit. ${hash.digest('hex')}\n`

if (!fs.existsSync(made) || !fs.readFileSync(made, 'utf8').startsWith(mark)) {
  // Takes a second to load, so only when it is needed.
  const { default: generate, astToString } = await import('openapi-typescript')
  // A field with a default may be left out of a request all the same.
  const tree = await generate(JSON.parse(fs.readFileSync(document, 'utf8')), { defaultNonNullable: false, silent: true })
  const next = `${made}.${process.pid}`
  fs.writeFileSync(next, mark + astToString(tree))
  // At once: another check may be reading it.
  fs.renameSync(next, made)
}
