// Environment variables: rows of an editor, the text of a `.env` file, and what is sent.
import type { TenantConfig } from '../../api/types'

/** What the server shows in place of a secret; sent back, it keeps the secret. */
export const HIDDEN = '***hidden***'

export type Row = {
  name: string
  value: string
  isSecret: boolean
  /** The name under which the server holds a value that it does not show; empty when there is none. */
  hides: string
}
export type Mistake = { line: number; message: string }

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/
const ESCAPES: Record<string, string> = { n: '\n', r: '\r', t: '\t' }

export function rowsOf(env: Record<string, string>, secret: readonly string[]): Row[] {
  const names = Object.keys(env).sort()
  return names.map((name) => {
    const value = env[name] ?? ''
    const isHidden = value === HIDDEN
    return { name, value: isHidden ? '' : value, isSecret: secret.includes(name), hides: isHidden ? name : '' }
  })
}

/** What is wrong with a row among all of them; nothing of one that is empty. */
export function mistakeOf(row: Row, rows: readonly Row[]): string {
  const { name, value, hides } = row
  if (name === '' && value === '' && hides === '') return ''
  if (name === '') return 'A name is needed.'
  if (!NAME.test(name)) return 'Letters, digits and _, no digit first.'
  if (rows.filter((other) => other.name === name).length > 1) return 'This name stands here twice.'
  if (hides !== '' && hides !== name && value === '') return 'A hidden value stays under its name: type it again.'
  if (value !== HIDDEN && value.includes(HIDDEN)) return 'This is what is shown in place of a secret.'
  // Tab is the one control character that may be.
  if (/[\u0000-\u0008\u000a-\u001f\u007f-\u009f]/.test(value)) return 'No line breaks or other control characters.'
  return ''
}

/** What the API takes: all variables, those that are hidden as they were shown. */
export function sentOf(rows: readonly Row[]): Pick<TenantConfig, 'custom_env' | 'secret_env'> {
  const named = rows.filter(({ name }) => name !== '')
  return {
    custom_env: Object.fromEntries(named.map(({ name, value, hides }) => [name, value === '' && hides === name ? HIDDEN : value])),
    secret_env: named.filter(({ isSecret }) => isSecret).map(({ name }) => name),
  }
}

export const isSame = (a: readonly Row[], b: readonly Row[]): boolean => JSON.stringify(sentOf(a)) === JSON.stringify(sentOf(b))

/** Reads the text of a `.env` file: `NAME=value`, `export`, quotes, comments. */
export function parse(text: string): { variables: [name: string, value: string][]; mistakes: Mistake[] } {
  const found = new Map<string, string>()
  const mistakes: Mistake[] = []
  for (const [place, whole] of text.split(/\r\n|\n|\r/).entries()) {
    const line = whole.trim().replace(/^export\s+/, '')
    if (line === '' || line.startsWith('#')) continue
    const wrong = (message: string): void => void mistakes.push({ line: place + 1, message })
    const equals = line.indexOf('=')
    if (equals < 0) {
      wrong('NAME=value is expected.')
      continue
    }
    const name = line.slice(0, equals).trim()
    const value = valueOf(line.slice(equals + 1).trim())
    if (!NAME.test(name)) wrong(`“${name}” is no name of a variable.`)
    else if (value === null) wrong('A quotation mark is not closed.')
    else if (found.has(name)) wrong(`${name} stands here twice.`)
    else found.set(name, value)
  }
  return { variables: [...found], mistakes }
}

/** A value without its quotes and the comment behind it; null when a quote does not end. */
function valueOf(text: string): string | null {
  const quote = text[0]
  if (quote !== '"' && quote !== "'") return text.replace(/\s+#.*$/, '')
  let value = ''
  for (let at = 1; at < text.length; at += 1) {
    const letter = text[at] ?? ''
    if (letter === quote) return /^\s*(#.*)?$/.test(text.slice(at + 1)) ? value : null
    if (letter === '\\' && quote === '"') {
      at += 1
      const next = text[at] ?? ''
      value += ESCAPES[next] ?? next
    } else value += letter
  }
  return null
}

/** Rows with what was read put over them: the same names get the new values, others stand behind. */
export function merged(rows: readonly Row[], variables: readonly [string, string][]): Row[] {
  const values = new Map(variables)
  const kept = rows.filter(({ name, value, hides }) => name !== '' || value !== '' || hides !== '').map((row) => {
    const value = values.get(row.name)
    return value === undefined || value === HIDDEN ? row : { ...row, value }
  })
  const known = new Set(rows.map(({ name }) => name))
  const fresh = variables.filter(([name]) => !known.has(name))
  return [...kept, ...fresh.map(([name, value]) => ({ name, value, isSecret: false, hides: '' }))]
}
