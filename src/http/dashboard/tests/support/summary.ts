// One line at the end, as cargo prints it, so that `.ci/summary` counts these tests, too.
import type { FullConfig, Reporter, Suite } from '@playwright/test/reporter'

export default class Summary implements Reporter {
  #suite: Suite | undefined

  onBegin(_: FullConfig, suite: Suite): void {
    this.#suite = suite
  }

  onEnd(): void {
    const counts = { expected: 0, flaky: 0, unexpected: 0, skipped: 0 }
    for (const test of this.#suite?.allTests() ?? []) {
      const outcome = test.outcome()
      counts[outcome] += 1
      if (outcome === 'flaky') process.stdout.write(`passed the second time only: ${test.titlePath().join(' > ')}\n`)
    }
    const { expected, flaky, unexpected, skipped } = counts
    const verdict = unexpected > 0 ? 'FAILED' : 'ok'
    process.stdout.write(`test result: ${verdict}. ${expected + flaky} passed; ${unexpected} failed; ${skipped} ignored; in a browser\n`)
  }
}
