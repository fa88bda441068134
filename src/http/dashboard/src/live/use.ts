// Live queries in components.
import { useEffect, useMemo, useRef } from 'preact/hooks'
import { asOf } from './moment'
import { queryOf } from './query'

export type Live<T> = {
  /** The last state that is known. While another moment is fetched it is that of the moment before. */
  data: T | undefined
  error: unknown
  isLoading: boolean
}

/** Follows any GET of state; null asks nothing. In the past it is asked once. */
export function useLive<T>(path: string | null): Live<T> {
  const moment = asOf.value
  // The moment is part of what is asked.
  const query = useMemo(() => (path === null ? null : queryOf(path)), [path, moment])
  const before = useRef<{ path: string | null; data: T | undefined }>({ path, data: undefined })
  useEffect(() => query?.use(), [query])
  const data = query?.data.value as T | undefined
  const error = query?.error.value
  if (before.current.path !== path || data !== undefined) before.current = { path, data }
  const shown = data ?? (error === undefined ? before.current.data : undefined)
  return { data: shown, error, isLoading: path !== null && shown === undefined && error === undefined }
}
