/** A gateway's own refusals, counted by tenant and limit and told to the history every few seconds: a flood costs a record, not thousands. */
import type { Codec } from '#schemas/codec.ts';
import type { Instant, TenantId } from '#schemas/ids.ts';
import { partitionOf, type Topic } from '#schemas/topics.ts';
import type { Output } from '#streams/engine/machine.ts';

const COMMANDS: Topic = 'tenant.commands';
const EVERY_MS = 10_000;

export type ReportParts = {
  readonly codec: Codec;
  readonly partitions: number;
  readonly instance: string;
  readonly send: (records: readonly Output[]) => Promise<unknown>;
  readonly random: () => string;
  readonly now: () => Instant;
  readonly warn: (message: string) => void;
};

export class RefusalReports {
  readonly #parts: ReportParts;
  #counts = new Map<TenantId, Map<string, number>>();
  #since: Instant;
  readonly #timer: NodeJS.Timeout;

  constructor(parts: ReportParts, everyMs = EVERY_MS) {
    this.#parts = parts;
    this.#since = parts.now();
    this.#timer = setInterval(() => void this.flush(), everyMs).unref();
  }

  count(tenant: TenantId, limitName: string, times = 1): void {
    const of = this.#counts.get(tenant) ?? new Map<string, number>();
    this.#counts.set(tenant, of.set(limitName, (of.get(limitName) ?? 0) + times));
  }

  /** What could not be sent is counted again with the next. */
  async flush(): Promise<void> {
    const { codec, partitions, instance: by, send, random, now, warn } = this.#parts;
    const [counts, since] = [this.#counts, this.#since];
    this.#counts = new Map();
    this.#since = now();
    const counted = [...counts].flatMap(([tenant, of]) => [...of].map(([limitName, count]) => ({ tenant, limitName, count })));
    if (counted.length === 0) return;
    const records = counted.map(({ tenant, limitName, count }): Output => {
      const value = codec.encode('report_refusals', { tenantId: tenant, commandId: random(), by, role: 'operator', limitName, count, since });
      return { topic: COMMANDS, partition: partitionOf(tenant, partitions), key: tenant, value };
    });
    try {
      await send(records);
    } catch (error) {
      warn(`refusals were not reported, and are counted with the next: ${(error as Error).message}`);
      for (const { tenant, limitName, count } of counted) this.count(tenant, limitName, count);
      this.#since = since;
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }
}
