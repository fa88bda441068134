// When events were: as far as it is known, and between two known ones by proportion.

export type Anchor = { seq: number; at: number }
export type Reading = { at: number; isExact: boolean }

export class Clock {
  #known: Anchor[] = []

  add(more: readonly Anchor[]): void {
    if (more.length === 0) return
    const bySeq = new Map([...this.#known, ...more].map((anchor) => [anchor.seq, anchor]))
    this.#known = [...bySeq.values()].sort((a, b) => a.seq - b.seq)
  }

  /** Nothing when nothing is known at all. */
  at(seq: number): Reading | undefined {
    const next = firstFrom(this.#known, seq)
    const [before, after] = [this.#known[next - 1], this.#known[next]]
    if (after?.seq === seq) return { at: after.at, isExact: true }
    const only = before ?? after
    if (!before || !after) return only && { at: only.at, isExact: false }
    const share = (seq - before.seq) / (after.seq - before.seq)
    return { at: before.at + share * (after.at - before.at), isExact: false }
  }
}

/** The place of the first that is at `seq` or behind it. */
export function firstFrom(sorted: readonly { seq: number }[], seq: number): number {
  let [low, high] = [0, sorted.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((sorted[middle]?.seq ?? 0) < seq) low = middle + 1
    else high = middle
  }
  return low
}
