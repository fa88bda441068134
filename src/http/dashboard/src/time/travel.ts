// Moving through the journal. A position is shown at once and travelled to when it rests; the last one wins.
import { computed, signal } from '@preact/signals'
import { asOf } from '../live/moment'
import { travel } from '../shell/router'
import { head, marks, shownSeq } from './journal'
import { neighbour } from './marks'
import { measureTurn } from './turned'

/** Shorter than anybody notices, longer than the time between two moves of a hand. */
const REST_MS = 70

/** Where the slider stands while it moves. */
const moving = signal<number | null>(null)
let timer: ReturnType<typeof setTimeout> | undefined

/** The position that the slider shows. */
export const position = computed(() => moving.value ?? shownSeq.value ?? head.value)
export const isMoving = computed(() => moving.value !== null)

export function moveTo(seq: number): void {
  if (head.value === 0) return
  moving.value = Math.max(1, Math.min(head.value, seq))
  clearTimeout(timer)
  timer = setTimeout(arrive, REST_MS)
}

function arrive(): void {
  const seq = moving.value
  if (seq === null) return
  const moment = seq >= head.value ? null : String(seq)
  if (moment !== asOf.value) {
    void measureTurn()
    travel(moment)
  }
  moving.value = null
}

export const moveBy = (events: number): void => moveTo(position.value + events)

export function moveToMark(step: -1 | 1): void {
  const mark = neighbour(marks.value, position.value, step)
  if (mark) moveTo(mark.seq)
}

export function backToNow(): void {
  clearTimeout(timer)
  moving.value = null
  if (asOf.value === null) return
  void measureTurn()
  travel(null)
}
