// A part of the page that is fetched when it is first shown. Its module exports it as `default`.
import { signal } from '@preact/signals'
import type { FunctionComponent } from 'preact'
import { useEffect } from 'preact/hooks'
import { Failed, Loading } from './states'

type Module<Props> = { default: FunctionComponent<Props> }

export function lazy<Props extends object>(load: () => Promise<Module<Props>>, what = 'this part'): FunctionComponent<Props> {
  const loaded = signal<FunctionComponent<Props> | null>(null)
  const error = signal<unknown>(undefined)
  let running: Promise<void> | null = null
  const fetchIt = (): void => {
    error.value = undefined
    running ??= load().then(
      (module) => void (loaded.value = module.default),
      (failure: unknown) => {
        running = null
        error.value = failure
      },
    )
  }
  return function Lazy(props: Props) {
    useEffect(fetchIt, [])
    const Component = loaded.value
    if (Component) return <Component {...props} />
    return error.value === undefined ? <Loading what={what} /> : <Failed error={error.value} retry={fetchIt} />
  }
}
