/** The simulated broker: the memory log of the contract suite, which tells the model every transaction and who made it. */
import type { Codec } from '#schemas/codec.ts';
import type { Batch, Event } from '#schemas/events.ts';
import type { Instant } from '#schemas/ids.ts';
import type { RecordOf } from '#schemas/records.ts';
import type { Output } from '#streams/engine/machine.ts';
import type { Offsets, Rec } from '#streams/engine/ports.ts';
import { MemoryBroker } from '#streams/memory/partition-log.ts';
import type { Committed, Model } from './model.ts';

export const TOPICS = { history: 'tenant.events', words: 'support.steps' } as const;
export const SNAPSHOTS = 'tenant.snapshots';
export const INPUTS = ['tenant.commands', 'support.requests'] as const;

type Opening = { readonly tenure: number; readonly cap: number };
export type BrokerOptions = { readonly now: () => Instant; readonly codec: Codec; readonly model: Model; readonly fenced: boolean };

export class SimulatedBroker extends MemoryBroker {
  readonly #options: BrokerOptions;
  readonly #writers = new Map<number, Opening>();
  #newest = 0;
  /** Who opens next: set by the process in the moment before. */
  opening: Opening | undefined;

  constructor(options: BrokerOptions) {
    super(options.now);
    this.#options = options;
  }

  override fence(partition: number): number {
    this.#newest = super.fence(partition);
    if (this.opening) this.#writers.set(this.#newest, this.opening);
    return this.#newest;
  }

  override commit(partition: number, epoch: number, records: readonly Output[], inputs: Offsets): Instant {
    const time = super.commit(partition, this.#options.fenced ? epoch : this.#newest, records, inputs);
    const writer = this.#writers.get(epoch);
    if (!writer) throw new Error(`epoch ${epoch} was opened by nobody`);
    this.#options.model.add(this.#read(records), { epoch, tenure: writer.tenure, cap: writer.cap });
    return time;
  }

  /** Whether the producer of that epoch may still abort what it began. */
  override current(partition: number, epoch: number): boolean {
    return !this.#options.fenced || super.current(partition, epoch);
  }

  records(topic: string): readonly Rec[] {
    return this.partition(topic, 0).records;
  }

  #read(records: readonly Output[]): Committed {
    let batch: Batch | undefined;
    const [events, words, results]: [Event[], RecordOf<'support_step'>[], RecordOf<'support_result'>[]] = [[], [], []];
    let deadLetters = 0;
    for (const { topic, value } of records) {
      if (topic === 'support.dead-letters') {
        deadLetters++;
        continue;
      }
      if (topic === SNAPSHOTS) continue;
      const decoded = this.#options.codec.decode(value ?? new Uint8Array(0));
      if (topic === TOPICS.words && decoded.name === 'support_step') words.push(decoded.value);
      else if (topic === 'support.results' && decoded.name === 'support_result') results.push(decoded.value);
      else if (topic !== TOPICS.history) throw new Error(`${decoded.name} on ${topic}`);
      else if (decoded.name === 'batch' && !batch) batch = { type: 'batch', ...decoded.value };
      else events.push({ type: decoded.name, ...decoded.value } as Event);
    }
    if (!batch) throw new Error('a transaction without a batch record');
    return { batch, events, words, results, deadLetters };
  }
}
