/** A service for ops.test.ts: its one argument says how it goes on. */
import { runMain } from '#services/ops.ts';

const [, , how] = process.argv;
let ready = how !== 'waits';

await runMain(async ({ config, log, metrics, fail }) => {
  if (how === 'cannot-start') throw new Error('there is no Kafka');
  log.info({ config }, 'started');
  if (how === 'spins')
    setTimeout(() => {
      for (;;);
    }, 100);
  if (how === 'fails') setTimeout(() => fail(new Error('a part failed')), 50);
  if (how === 'rejects') setTimeout(() => void Promise.reject(new Error('nobody waited')), 50);
  return {
    waitingFor: () => (ready ? [] : ['its partitions']),
    pages: {
      '/become-ready': () => {
        ready = true;
        return { metrics: metrics.getMetricsAsArray().length };
      },
    },
    close: () => (how === 'hangs' ? new Promise(() => undefined) : new Promise((resolve) => setTimeout(resolve, 50))),
  };
}, 1_000);
