// Tabs, moved by the arrow keys as screen readers expect. Which one is open is its parent's to know.
import type { ComponentChildren } from 'preact'
import { useId, useRef } from 'preact/hooks'

export type Tab = { key: string; title: string; count?: number }
type TabsProps = { tabs: readonly Tab[]; open: string; onOpen: (key: string) => void; label: string; children: ComponentChildren }

export function Tabs({ tabs, open, onOpen, label, children }: TabsProps) {
  const id = useId()
  const list = useRef<HTMLDivElement>(null)
  const move = (event: KeyboardEvent): void => {
    const steps: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1, Home: -tabs.length, End: tabs.length }
    const step = steps[event.key]
    if (step === undefined) return
    event.preventDefault()
    const at = tabs.findIndex((tab) => tab.key === open)
    const count = tabs.length
    const next = Math.abs(step) === count ? (step < 0 ? 0 : count - 1) : (at + step + count) % count
    const tab = tabs[next]
    if (!tab) return
    onOpen(tab.key)
    list.current?.querySelectorAll<HTMLElement>('[role=tab]')[next]?.focus()
  }
  return (
    <>
      <div ref={list} class="tabs" role="tablist" aria-label={label} onKeyDown={move}>
        {tabs.map(({ key, title, count }) => (
          <button key={key} type="button" role="tab" id={`${id}-${key}`} aria-selected={key === open} aria-controls={`${id}-panel`} tabIndex={key === open ? 0 : -1} onClick={() => onOpen(key)}>
            {title}{count !== undefined && <span class="count">{count}</span>}
          </button>
        ))}
      </div>
      <div id={`${id}-panel`} class="tab-panel" role="tabpanel" aria-labelledby={`${id}-${open}`}>{children}</div>
    </>
  )
}
