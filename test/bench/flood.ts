/** One tenant that asks far more than its share: over Kafka with its own key and principal, and over HTTP with its own token. */
import { Pool } from 'undici';
import type { TenantId } from '#schemas/ids.ts';
import type { Policy } from '#schemas/policy.ts';
import { producerPrincipal } from '#schemas/topics.ts';
import type { Output } from '#streams/engine/machine.ts';
import { provisionTenant } from '#streams/kafka/admin.ts';
import { createKafka } from '#streams/kafka/client.ts';
import { createSender, type RecordSender } from '#streams/kafka/producer.ts';
import { SigningProducer } from '../signed-request.ts';
import { QUESTION } from './load.ts';
import { pause } from './pace.ts';
import type { BenchPlatform } from './platform.ts';

const TICK_MS = 10;
const CONNECTIONS = 256;
/** Above this many unanswered calls the flooder's next ones are not made. */
const MOST_UNANSWERED = 2_000;
const PASSWORD = 'bench-secret';
export type Offered = { readonly kafka: number; readonly http: number; readonly perS: number; taken: number; refused: number; failed: number };

export class Flood {
  readonly #platform: BenchPlatform;
  readonly #tenant: TenantId;
  readonly #signer = new SigningProducer();
  /** Made beforehand: signing is no work of the flooder's that others should notice. */
  readonly #made: Output[] = [];
  #sender!: RecordSender;
  #pool!: Pool;
  #token = '';

  constructor(platform: BenchPlatform, tenant: TenantId) {
    this.#platform = platform;
    this.#tenant = tenant;
  }

  get policy(): Pick<Policy, 'producerKeys'> {
    return this.#signer.policy;
  }

  /** Gives the tenant its principal. `url`: of a gateway that takes `token`. */
  async open(url: string, token: string): Promise<void> {
    const { kafka } = this.#platform;
    const settings = { brokers: kafka.brokers, ...kafka.admin, clientId: 'bench.provision' };
    const username = producerPrincipal(this.#tenant);
    await provisionTenant({ kafka: this.#platform.client('admin'), settings, tenant: this.#tenant, passwords: { [username]: PASSWORD } });
    this.#sender = createSender(createKafka({ brokers: kafka.brokers, username, password: PASSWORD, clientId: 'bench.flood' }));
    this.#token = token;
    this.#pool = new Pool(url, { connections: CONNECTIONS });
  }

  /** So many records for the Kafka half of what is run next. */
  make(count: number): void {
    while (this.#made.length < count) this.#made.push(this.#sign());
  }

  /** Half over each way, or all over HTTP, until `done`. Resolves with what was really offered. */
  async run(ratePerS: number, done: Promise<unknown>, overKafka = 0.5): Promise<Offered> {
    const offered = { kafka: 0, http: 0, perS: 0, taken: 0, refused: 0, failed: 0 };
    const began = performance.now();
    let [ended, unanswered] = [false, 0];
    void done.finally(() => {
      ended = true;
    });
    while (!ended) {
      const due = ((performance.now() - began) / 1_000) * ratePerS;
      for (; offered.kafka < Math.floor(due * overKafka); offered.kafka++) this.#publish().catch(() => offered.failed++);
      const calls = Math.min(Math.floor(due * (1 - overKafka)) - offered.http, MOST_UNANSWERED - unanswered);
      unanswered += calls;
      offered.http += calls;
      for (let call = 0; call < calls; call++) void this.#post(offered).finally(() => unanswered--);
      await pause(TICK_MS);
    }
    offered.perS = ((offered.kafka + offered.http) * 1_000) / (performance.now() - began);
    return offered;
  }

  async close(): Promise<void> {
    await Promise.all([this.#pool.destroy(), this.#sender.close()]);
  }

  #sign(): Output {
    const { codec, partitions } = this.#platform;
    const { requestId: _, person: __, ...record } = this.#signer.record(codec, partitions, this.#tenant, { person: 'flooder', message: QUESTION });
    return record;
  }

  async #publish(): Promise<void> {
    await this.#sender.send([this.#made.pop() ?? this.#sign()]);
  }

  async #post(offered: Offered): Promise<void> {
    try {
      const { statusCode, body } = await this.#pool.request({
        path: '/v1/requests',
        method: 'POST',
        headers: { authorization: `Bearer ${this.#token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ message: QUESTION }),
      });
      await body.dump();
      if (statusCode === 202) offered.taken++;
      else if (statusCode === 429) offered.refused++;
      else offered.failed++;
    } catch {
      // The pool was closed with the call on its way, or the gateway did not answer: it is counted, and no more is owed to a flooder.
      offered.failed++;
    }
  }
}
