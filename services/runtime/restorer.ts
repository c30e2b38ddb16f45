/**
 * Long histories are folded in threads of their own: two partitions at once on two processors, while this thread goes on to answer heartbeats.
 * A thread does what this one would have done, on a store that it is lent; it is started when it is needed, and ends when nothing is left.
 */
import { Worker } from 'node:worker_threads';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Store } from '#streams/engine/ports.ts';
import type { Restored, Source } from '#streams/engine/recover.ts';
import { lend } from '#streams/rocksdb/store.ts';
import type { Asked, Restoring, Told } from './restore-thread.ts';

type Job = { readonly asked: Asked; readonly done: PromiseWithResolvers<Restored | undefined> };

export class Restorer {
  readonly #restoring: Restoring;
  readonly #warn: (message: string) => void;
  readonly #most: number;
  readonly #waiting: Job[] = [];
  #threads = 0;

  /** `most`: threads at once. */
  constructor(restoring: Restoring, most: number, warn: (message: string) => void) {
    this.#restoring = restoring;
    this.#most = most;
    this.#warn = warn;
  }

  /** Into `store`, which nobody else may touch meanwhile. @throws as `restoreFrom` does, and EvenkeelError `unavailable` when the thread ends */
  readonly restore = (partition: number, store: Store, source: Source): Promise<Restored | undefined> =>
    lend(store, (handle) => {
      const job: Job = { asked: { partition, handle, source }, done: Promise.withResolvers() };
      this.#waiting.push(job);
      if (this.#threads < this.#most) this.#start();
      return job.done.promise;
    });

  #start(): void {
    this.#threads++;
    const worker = new Worker(new URL('./restore-thread.ts', import.meta.url), { workerData: this.#restoring });
    let job: Job | undefined;
    const next = () => {
      job = this.#waiting.shift();
      if (!job) this.#threads--;
      worker.postMessage(job?.asked ?? 'end');
    };
    worker.on('message', (told: Told) => {
      if ('warning' in told) return this.#warn(told.warning);
      if ('restored' in told) job?.done.resolve(told.restored);
      else job?.done.reject(told.code ? new EvenkeelError(told.code, told.failed) : new Error(told.failed));
      next();
    });
    const ended = (cause: unknown) => {
      if (!job) return;
      job.done.reject(new EvenkeelError('unavailable', 'the thread that restored it has ended', { cause }));
      job = undefined;
      this.#threads--;
      if (this.#waiting.length > 0) this.#start();
    };
    worker.once('error', ended);
    worker.once('exit', ended);
    next();
  }
}
