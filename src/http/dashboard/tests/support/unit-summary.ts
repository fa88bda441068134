// One line at the end, as cargo prints it, so that `.ci/summary` counts these tests, too.
import type { Reporter, TestModule } from 'vitest/node'

export default class UnitSummary implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const count = { passed: 0, failed: errors.length, skipped: 0, pending: 0 }
    for (const module of modules) {
      // A file that does not load has no tests to count.
      if (module.errors().length > 0) count.failed += 1
      for (const test of module.children.allTests()) count[test.result().state] += 1
    }
    const verdict = count.failed > 0 ? 'FAILED' : 'ok'
    const ignored = count.skipped + count.pending
    process.stdout.write(`test result: ${verdict}. ${count.passed} passed; ${count.failed} failed; ${ignored} ignored; in Vitest\n`)
  }
}
