/**
 * A tenant's knowledge, searched: one index a tenant, so that no query can see another's documents (invariant 8). Audience and owner are
 * filtered before the ranking. No search answers before the partition's log was read to its end at opening.
 */
import MiniSearch from 'minisearch';
import type { Codec } from '#schemas/codec.ts';
import type { PersonId, TenantId } from '#schemas/ids.ts';
import type { RecordOf } from '#schemas/records.ts';
import type { Topic } from '#schemas/topics.ts';
import type { Log, Rec } from '#streams/engine/ports.ts';
import { chunkMarkdown } from './chunks.ts';
import { normalise } from './words.ts';

export type Reader = { readonly person: PersonId; readonly agent: boolean };
export type Passage = {
  readonly document: string;
  readonly title: string;
  readonly heading: string;
  readonly version: string;
  readonly text: string;
  readonly score: number;
};
type Document = RecordOf<'knowledge_document'>;
type Entry = { readonly id: string; readonly heading: string; readonly title: string; readonly text: string; readonly of: Document };
type Desk = { readonly index: MiniSearch<Entry>; readonly entries: Map<string, Entry>; readonly documents: Map<string, readonly Entry[]> };

const TOPIC: Topic = 'support.knowledge';
const SEARCH = { boost: { heading: 2.5, title: 1.5 }, prefix: (term: string) => term.length > 3, fuzzy: false, combineWith: 'OR' } as const;

export class Knowledge {
  readonly #log: Pick<Log, 'follow'>;
  readonly #codec: Codec;
  readonly #fail: (error: Error) => void;
  readonly #desks = new Map<TenantId, Desk>();
  readonly #open = new Map<number, AbortController>();

  constructor({ log, codec, fail }: { readonly log: Pick<Log, 'follow'>; readonly codec: Codec; readonly fail: (error: Error) => void }) {
    this.#log = log;
    this.#codec = codec;
    this.#fail = fail;
  }

  /** Resolves when the partition's documents, as of now, can be searched. */
  open(partition: number): Promise<void> {
    this.#open.get(partition)?.abort();
    const stop = new AbortController();
    this.#open.set(partition, stop);
    return new Promise((resolve) => {
      this.#follow(partition, stop.signal, resolve).catch(this.#fail);
    });
  }

  /** The partition is another's now. */
  shut(partition: number): void {
    this.#open.get(partition)?.abort();
    this.#open.delete(partition);
  }

  async close(): Promise<void> {
    for (const partition of [...this.#open.keys()]) this.shut(partition);
  }

  search(tenant: TenantId, reader: Reader, question: string, most: number): readonly Passage[] {
    const desk = this.#desks.get(tenant);
    if (!desk) return [];
    const found = desk.index.search(question, {
      ...SEARCH,
      filter: ({ id }) => mayRead(desk.entries.get(id as string)?.of, reader),
    });
    return found.slice(0, most).flatMap(({ id, score }) => {
      const entry = desk.entries.get(id as string);
      return entry ? [{ document: entry.of.documentId, title: entry.title, heading: entry.heading, version: entry.of.version, text: entry.text, score }] : [];
    });
  }

  async #follow(partition: number, signal: AbortSignal, ready: () => void): Promise<void> {
    let target: number | undefined;
    for await (const { records, next, end } of this.#log.follow(TOPIC, partition, 0, signal)) {
      for (const record of records) {
        this.#take(record);
        // A large base is indexed a document at a time, so that nothing else waits for all of it.
        await new Promise((resolve) => setImmediate(resolve));
      }
      target ??= end;
      if (next >= target) ready();
    }
  }

  #take({ key, value }: Rec): void {
    if (key === undefined) return;
    const slash = key.indexOf('/');
    const [tenant, documentId] = [key.slice(0, slash) as TenantId, key.slice(slash + 1)];
    this.#remove(tenant, documentId);
    if (value === null) return;
    const decoded = this.#codec.decode(value);
    if (decoded.name === 'knowledge_document' && decoded.value.tenant === tenant) this.#add(decoded.value);
  }

  #add(document: Document): void {
    const desk = this.#desks.get(document.tenant) ?? newDesk();
    this.#desks.set(document.tenant, desk);
    const entries = chunkMarkdown(document.content, document.title).map(({ heading, text }, at) => ({
      id: `${document.documentId}#${at}`,
      heading,
      title: document.title,
      text,
      of: document,
    }));
    for (const entry of entries) desk.entries.set(entry.id, entry);
    desk.documents.set(document.documentId, entries);
    desk.index.addAll(entries);
  }

  #remove(tenant: TenantId, documentId: string): void {
    const desk = this.#desks.get(tenant);
    for (const entry of desk?.documents.get(documentId) ?? []) {
      desk?.index.remove(entry);
      desk?.entries.delete(entry.id);
    }
    desk?.documents.delete(documentId);
  }
}

function newDesk(): Desk {
  const index = new MiniSearch<Entry>({ fields: ['heading', 'title', 'text'], processTerm: normalise, searchOptions: { processTerm: normalise } });
  return { index, entries: new Map(), documents: new Map() };
}

function mayRead(document: Document | undefined, { person, agent }: Reader): boolean {
  if (!document) return false;
  if (document.owner !== null && document.owner !== person && !agent) return false;
  return document.audience === 'everyone' || agent || document.owner === person;
}

