/**
 * What arrives in one turn of the event loop is taken up together when the turn's reads are done. Taken up each after its own read, it would
 * be worked by code that the system calls between have driven out of the processor's caches, and a request to Kafka would go off with the
 * first of it alone: a sixth of the gateway's rate under load (test/bench/RESULTS.md). What comes alone waits for nothing.
 */
let done: Promise<void> | undefined;

/** Resolves for all who ask in this turn. */
export function readsDone(): Promise<void> {
  done ??= new Promise((resolve) =>
    setImmediate(() => {
      done = undefined;
      resolve();
    }),
  );
  return done;
}
