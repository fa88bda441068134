// What stands where there is nothing to show: yet, at all, or because it went wrong.
import type { ComponentChildren } from 'preact'
import { messageOf } from '../api/problem'

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return <div class="empty"><p class="empty-title">{title}</p>{children}</div>
}

export function Loading({ what }: { what: string }) {
  return <div class="empty" role="status"><p class="loading">Loading {what}</p></div>
}

export function Failed({ error, retry }: { error: unknown; retry?: () => void }) {
  return (
    <div class="empty" role="alert">
      <p class="empty-title">This could not be loaded</p>
      <p>{messageOf(error)}</p>
      {retry && <button type="button" onClick={retry}>Try again</button>}
    </div>
  )
}
