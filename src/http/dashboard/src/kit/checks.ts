// What fields may be, as far as a page can know it.
import type { Check } from './form'

const LABEL = '[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?'
const HOST = new RegExp(`^(?=.{1,253}$)${LABEL}(\\.${LABEL})+$`)

export const needed = (what: string): Check => (value) => (value === '' ? `${what} is needed.` : undefined)
export const optional = (check: Check): Check => (value) => (value === '' ? undefined : check(value))
export const host: Check = (value) => (HOST.test(value) ? undefined : 'A lower-case host name, such as app.example.com.')
export const mail: Check = (value) => (/^[^\s@]+@[^\s@]+$/.test(value) ? undefined : 'A mail address, such as ana@example.com.')

export function address(...schemes: string[]): Check {
  const wanted = `An address that begins with ${schemes.map((scheme) => `${scheme}://`).join(' or ')}.`
  return (value) => {
    if (/\s/.test(value) || !URL.canParse(value)) return wanted
    const url = new URL(value)
    if (!schemes.includes(url.protocol.slice(0, -1)) || url.host === '') return wanted
    return url.username === '' && url.password === '' ? undefined : 'Without user and password: everybody who looks would see them.'
  }
}

export const whole = (first: number, last: number): Check => (value) => {
  const number = Number(value)
  return /^\d+$/.test(value) && number >= first && number <= last ? undefined : `A whole number from ${first} to ${last}.`
}
