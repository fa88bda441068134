// Where we are: `#/tenants/ID?tab=logs&as_of=120`. The moment is part of the address, so that it can be shared.
import { computed, effect, signal } from '@preact/signals'
import { asOf } from '../live/moment'

export type Place = { path: string; query: URLSearchParams }

function read(): Place {
  const [path = '', query = ''] = location.hash.replace(/^#/, '').split('?')
  return { path: path === '' ? '/' : path, query: new URLSearchParams(query) }
}

export const place = signal<Place>(read())
asOf.value = place.value.query.get('as_of')

addEventListener('hashchange', () => {
  place.value = read()
  asOf.value = place.value.query.get('as_of')
})

/** The address of a page, at the moment that is shown. */
export function href(path: string, query: Record<string, string> = {}): string {
  const all = new URLSearchParams(query)
  if (asOf.value !== null) all.set('as_of', asOf.value)
  const text = all.toString()
  return `#${path}${text === '' ? '' : `?${text}`}`
}

export function go(path: string, query: Record<string, string> = {}): void {
  location.hash = href(path, query)
}

/** Changes the query of the page that is shown, without a new entry in the history. */
export function note(changes: Record<string, string | null>): void {
  const query = new URLSearchParams(place.value.query)
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === '') query.delete(name)
    else query.set(name, value)
  }
  const text = query.toString()
  history.replaceState(null, '', `#${place.value.path}${text === '' ? '' : `?${text}`}`)
  place.value = read()
}

/** Shows another moment; null is the present. */
export function travel(moment: string | null): void {
  asOf.value = moment
}

// Whoever sets the moment need not know of addresses.
effect(() => {
  const moment = asOf.value
  if (place.peek().query.get('as_of') !== moment) note({ as_of: moment })
})

/** The parts of the path: `/tenants/ID` is `['tenants', 'ID']`. */
export const parts = computed(() => place.value.path.split('/').filter(Boolean).map(decodeURIComponent))
