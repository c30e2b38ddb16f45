import type { Reporter, TestModule } from 'vitest/node';

/** Ends a run with one plain line that any tool can read. A file that does not load counts as one failure, and so does a run that never began. */
export default class PlainSummary implements Reporter {
  #count = { passed: 0, failed: 0, skipped: 0 };

  onInit(): void {
    // After the default reporter's summary. A global set-up that failed is no test, and still a failure.
    process.on('exit', (code) => {
      const { passed, failed, skipped } = this.#count;
      const failures = failed === 0 && code !== 0 ? 1 : failed;
      console.log(`${passed} passed, ${failures} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
    });
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const count = { passed: 0, failed: errors.length, skipped: 0 };
    for (const module of modules) {
      const tests = [...module.children.allTests()];
      for (const test of tests) {
        const { state } = test.result();
        count[state === 'pending' ? 'failed' : state]++;
      }
      if (module.state() === 'failed' && !tests.some((test) => test.result().state === 'failed')) count.failed++;
    }
    this.#count = count;
  }
}
