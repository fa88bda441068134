// One line at the end, as cargo prints it, so that `.ci/summary` counts these tests, too.
import type { Reporter, TestCase, TestResult } from '@playwright/test/reporter'

export default class Summary implements Reporter {
  #counts = { passed: 0, failed: 0, skipped: 0 }

  onTestEnd(test: TestCase, result: TestResult): void {
    if (result.status === 'skipped') this.#counts.skipped += 1
    else if (result.status === test.expectedStatus) this.#counts.passed += 1
    else this.#counts.failed += 1
  }

  onEnd(): void {
    const { passed, failed, skipped } = this.#counts
    const verdict = failed > 0 ? 'FAILED' : 'ok'
    process.stdout.write(`test result: ${verdict}. ${passed} passed; ${failed} failed; ${skipped} ignored; in a browser\n`)
  }
}
