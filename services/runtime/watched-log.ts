/** A log under the watchdog's eyes: a transaction, or the fencing of an old owner, that does not end is a wedge (invariant 11). */
import type { Log } from '#streams/engine/ports.ts';
import type { Watchdog } from '../watchdog.ts';

export function watchedLog(log: Log, watchdog: Watchdog): Log {
  return {
    owned: (partition) => log.owned(partition),
    follow: (...where) => log.follow(...where),
    async open(partition) {
      const opened = await watchdog.during(`the opening of partition ${partition}`, () => log.open(partition));
      return {
        read: (topic, from) => opened.read(topic, from),
        commit: (records, inputs) => watchdog.during(`a transaction of partition ${partition}`, () => opened.commit(records, inputs)),
        end: (topic) => opened.end(topic),
        close: () => opened.close(),
      };
    },
  };
}
