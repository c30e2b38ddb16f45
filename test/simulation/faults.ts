/** What goes wrong in a world, and how often each thing did: a fault that no seed ever struck tests nothing. */
import type { Chance } from './time.ts';

export const FAULTS = [
  'crash before commit',
  'crash after commit, before the store’s write',
  'crash after the store’s write',
  'crash before effects start',
  'crash while a snapshot is written',
  'crash while a snapshot is loaded',
  'crash while opening',
  'crash at any time',
  'commit request lost',
  'commit reply lost',
  'commit request hangs',
  'commit reply hangs',
  'opening fails',
  'reads see nothing for a while',
  'the leader moves',
  'the broker’s clock steps forward',
  'the broker’s clock steps back',
  'process stopped for a while, and goes on',
  'partition moved in order',
  'partition moved, the old owner goes on',
  'partition moved while it is opened',
  'partition kept, fed again from where it stands',
  'own disk after a restart',
  'another disk, of an earlier state',
  'disk lost',
  'disk full for a while',
  'opened from a snapshot and the tail',
  'opened from the log alone',
  'half a snapshot on the disk',
  'snapshots compacted',
  'records fed again',
  'result late',
  'result repeated',
  'result of an old attempt or owner',
  'result of the attempt before',
  'start of a step repeated',
  'provider fails',
  'provider hangs',
  'request repeated',
  'request repeated with another body',
  'command repeated',
  'command repeated with another body',
  'record that cannot be decided',
] as const;
export type Fault = (typeof FAULTS)[number];

/** Chances at each occasion; a world has some of them, and pressure of its own. */
const AT_EACH_OCCASION: { readonly [K in Fault]?: number } = {
  'crash before commit': 0.02,
  'crash after commit, before the store’s write': 0.03,
  'crash after the store’s write': 0.02,
  'crash before effects start': 0.03,
  'crash while a snapshot is written': 0.1,
  'crash while a snapshot is loaded': 0.2,
  'crash while opening': 0.1,
  'commit request lost': 0.05,
  'commit reply lost': 0.05,
  'commit request hangs': 0.02,
  'commit reply hangs': 0.02,
  'disk full for a while': 0.01,
  'opening fails': 0.1,
  'partition moved while it is opened': 0.2,
  'reads see nothing for a while': 0.3,
  'records fed again': 0.05,
  'result late': 0.1,
  'result repeated': 0.1,
  'result of an old attempt or owner': 0.1,
  'result of the attempt before': 0.5,
  'start of a step repeated': 0.05,
  'provider fails': 0.04,
  'provider hangs': 0.02,
  'request repeated': 0.2,
  'request repeated with another body': 0.08,
  'command repeated': 0.3,
  'command repeated with another body': 0.1,
  'record that cannot be decided': 0.05,
};
/** Of the faults above, so many are at work in one world. */
const SHARE_AT_WORK = 0.6;

export class Faults {
  /** From here on nothing goes wrong any more. */
  healed = false;
  readonly tally: Map<Fault, number>;
  readonly #chance: Chance;
  readonly #atWork = new Map<Fault, number>();

  constructor(chance: Chance, tally: Map<Fault, number>) {
    this.#chance = chance;
    this.tally = tally;
    for (const fault of FAULTS) {
      const often = AT_EACH_OCCASION[fault] ?? 0;
      if (chance.next() < SHARE_AT_WORK) this.#atWork.set(fault, often);
    }
  }

  struck(fault: Fault): void {
    this.tally.set(fault, (this.tally.get(fault) ?? 0) + 1);
  }

  /** Whether it strikes here; counted when it does. */
  strikes(fault: Fault): boolean {
    if (this.healed || this.#chance.next() >= (this.#atWork.get(fault) ?? 0)) return false;
    this.struck(fault);
    return true;
  }
}
