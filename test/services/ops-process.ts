/** A service for ops.test.ts: its one argument says how it goes on. */
import { EvenkeelError } from '#schemas/errors.ts';
import { runMain } from '#services/ops.ts';

const [, , how] = process.argv;
let ready = how !== 'waits';
const never = () => new Promise<never>(() => undefined);

await runMain(async ({ config, log, metrics, watchdog, fail }) => {
  if (how === 'cannot-start') throw new Error('there is no Kafka');
  log.info({ config }, 'started');
  if (how === 'spins')
    setTimeout(() => {
      for (;;);
    }, 100);
  if (how === 'fails') setTimeout(() => fail(new Error('a part failed')), 50);
  if (how === 'has-no-disk') for (const at of [50, 60]) setTimeout(() => fail(new EvenkeelError('disk_failed', 'no writes for 15 s')), at);
  if (how === 'rejects') setTimeout(() => void Promise.reject(new Error('nobody waited')), 50);
  if (how === 'hangs-in-an-operation') void watchdog.during('a transaction of partition 3', never);
  if (how === 'stands-still') watchdog.watch('partition 3 of support.requests', () => 41);
  if (how === 'moves') {
    let position = 0;
    watchdog.watch('what moves', () => position++);
    watchdog.watch('what has nothing to do', () => undefined);
    const work = async (): Promise<void> => {
      await watchdog.during('what ends', () => new Promise((resolve) => setTimeout(resolve, 200)));
      return work();
    };
    void work();
  }
  return {
    waitingFor: () => (ready ? [] : ['its partitions']),
    pages: {
      '/become-ready': () => {
        ready = true;
        return { metrics: metrics.getMetricsAsArray().length };
      },
    },
    async close() {
      log.info('closing what it holds');
      if (how === 'hangs') await never();
      await new Promise((resolve) => setTimeout(resolve, how === 'drains' ? 1_000 : 50));
    },
  };
});
