/** What a request leaves on the topics, counted and weighed there after a run, so that the bare loop makes the same commits with the same records. */
import type { Batch } from '#schemas/events.ts';
import type { Rec } from '#streams/engine/ports.ts';
import { Reader } from '#streams/kafka/reader.ts';
import { MESSAGE_STEP } from '#streams/support/outputs.ts';
import type { BenchPlatform } from '../platform.ts';

/** Mean bytes; of headers by their names. */
export type Sized = { readonly key: number; readonly value: number; readonly headers: Readonly<Record<string, number>> };
export type Place = 'history' | 'words' | 'results';
export type Written = {
  readonly request: Sized;
  /** Which begins each transaction. */
  readonly batch: Sized;
  /** By the commits of a request's life: what it adds to each. */
  readonly commits: readonly (readonly (Sized & { readonly place: Place })[])[];
  /** Records of all topics in one transaction. */
  readonly recordsPerTransaction: number;
};

/** One is as good as all: a request leaves the same wherever its tenant lives. */
const PARTITION = 0;

/** Many records of one kind. */
class Weighed {
  count = 0;
  #key = 0;
  #value = 0;
  readonly #headers = new Map<string, number>();
  /** How many stood in the first, the second, … commit of their request. */
  readonly #commits: number[] = [];

  add({ key, value, headers }: Rec, commit = 0): void {
    this.count++;
    this.#key += key?.length ?? 0;
    this.#value += value?.byteLength ?? 0;
    for (const [name, header] of Object.entries(headers)) this.#headers.set(name, (this.#headers.get(name) ?? 0) + header.byteLength);
    this.#commits[commit] = (this.#commits[commit] ?? 0) + 1;
  }

  get size(): Sized {
    const mean = (sum: number) => Math.round(sum / this.count);
    return { key: mean(this.#key), value: mean(this.#value), headers: Object.fromEntries([...this.#headers].map(([name, sum]) => [name, mean(sum)])) };
  }
  get commit(): number {
    return this.#commits.reduce((most, count, at) => (count > (this.#commits[most] ?? 0) ? at : most), 0);
  }
}

type Read = (topic: string, each: (record: Rec) => void) => Promise<void>;

async function reading<T>(platform: BenchPlatform, run: (read: Read) => Promise<T>): Promise<T> {
  const reader = new Reader(platform.client('admin'), () => undefined);
  try {
    return await run(async (topic, each) => {
      for await (const { records } of reader.read(topic, PARTITION, 0)) records.forEach(each);
    });
  } finally {
    await reader.close();
  }
}

async function requestsIn(read: Read): Promise<Weighed> {
  const requests = new Weighed();
  await read('support.requests', (record) => requests.add(record));
  return requests;
}

/** A request's record, as it stands on its topic. */
export function requestWritten(platform: BenchPlatform): Promise<Sized> {
  return reading(platform, async (read) => (await requestsIn(read)).size);
}

export function writtenBy(platform: BenchPlatform): Promise<Written> {
  return reading(platform, (read) => written(platform, read));
}

async function written(platform: BenchPlatform, read: Read): Promise<Written> {
  const [requests, batches, kinds] = [await requestsIn(read), new Weighed(), new Map<string, Weighed>()];
  const weigh = (kind: string, record: Rec, commit: number) => {
    const weighed = kinds.get(kind) ?? new Weighed();
    kinds.set(kind, weighed);
    weighed.add(record, commit);
  };
  const commits = new Map<string, number[]>();
  let transaction = 0;
  await read('tenant.events', (record) => {
    const { name, value } = platform.codec.decode(record.value as Uint8Array);
    if (name === 'batch') {
      transaction = (value as Batch).number;
      return batches.add(record);
    }
    const { request } = value as { readonly request?: string };
    if (request === undefined) return;
    const known = commits.get(request) ?? [];
    commits.set(request, known);
    if (known.at(-1) !== transaction) known.push(transaction);
    weigh(`history ${name}`, record, known.length - 1);
  });
  const of = (event: string) => kinds.get(`history ${event}`)?.commit ?? 0;
  const [accepted, stepped, ended] = [of('request_queued'), of('step_finished'), of('request_finished')];
  await read('support.steps', (record) => {
    const { value } = platform.codec.decode(record.value as Uint8Array) as { readonly value: { readonly step: string } };
    weigh(`words ${value.step}`, record, value.step === MESSAGE_STEP ? accepted : stepped);
  });
  await read('support.results', (record) => weigh('results', record, ended));
  const records = [...kinds.values()].reduce((sum, { count }) => sum + count, batches.count);
  return { request: requests.size, batch: batches.size, commits: byCommit(kinds, requests.count), recordsPerTransaction: records / batches.count };
}

/** What most requests leave, as often as they do: an alert now and then belongs to none of them. */
function byCommit(kinds: ReadonlyMap<string, Weighed>, requests: number): Written['commits'] {
  const commits: (Sized & { readonly place: Place })[][] = [];
  for (const [kind, weighed] of kinds) {
    const one = { place: kind.split(' ')[0] as Place, ...weighed.size };
    for (let n = Math.round(weighed.count / requests); n > 0; n--) {
      commits[weighed.commit] ??= [];
      commits[weighed.commit]?.push(one);
    }
  }
  return commits;
}
