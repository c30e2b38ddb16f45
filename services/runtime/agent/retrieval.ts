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
import { isGeneric, normalise, tokens } from './words.ts';

export type Reader = { readonly person: PersonId; readonly agent: boolean };
export type Passage = {
  readonly document: string;
  readonly title: string;
  readonly heading: string;
  readonly version: string;
  readonly text: string;
  readonly score: number;
  /** Of a person's own: an answer from it is never given to another. */
  readonly owned: boolean;
};
export type KnowledgeParts = {
  readonly log: Pick<Log, 'follow'>;
  readonly codec: Codec;
  readonly fail: (error: Error) => void;
  readonly warn?: (message: string, error: Error) => void;
};
type Document = RecordOf<'knowledge_document'>;
type Entry = { readonly id: string; readonly heading: string; readonly title: string; readonly text: string; readonly of: Document };
type Desk = {
  readonly partition: number;
  readonly index: MiniSearch<Entry>;
  /** What may be found: a document's entries come and go together. */
  readonly entries: Map<string, Entry>;
  readonly documents: Map<string, readonly Entry[]>;
  /** Offset of the newest record that was read: it changes with every document. */
  version: number;
};

const TOPIC: Topic = 'support.knowledge';
/** How long indexing may keep the event loop before others have their turn. */
const SLICE_MS = 8;
const SEARCH = {
  boost: { heading: 2.5, title: 1.5 },
  boostTerm: (term: string) => (isGeneric(term) ? 0.3 : 1),
  prefix: (term: string) => term.length > 3,
  fuzzy: false,
  combineWith: 'OR',
} as const;

export class Knowledge {
  readonly #log: Pick<Log, 'follow'>;
  readonly #codec: Codec;
  readonly #fail: (error: Error) => void;
  readonly #desks = new Map<TenantId, Desk>();
  readonly #warn: (message: string, error: Error) => void;
  readonly #open = new Map<number, AbortController>();
  #nextEntry = 0;
  #turned = 0;

  constructor({ log, codec, fail, warn = () => undefined }: KnowledgeParts) {
    this.#log = log;
    this.#codec = codec;
    this.#fail = fail;
    this.#warn = warn;
  }

  /** Resolves when the partition's documents, as of now, can be searched. */
  open(partition: number): Promise<void> {
    this.shut(partition);
    const stop = new AbortController();
    this.#open.set(partition, stop);
    return new Promise((resolve) => {
      this.#follow(partition, stop.signal, resolve).catch(this.#fail);
    });
  }

  /** The partition is another's now. Its documents go: what is deleted meanwhile may be compacted away, and must not come back. */
  shut(partition: number): void {
    this.#open.get(partition)?.abort();
    this.#open.delete(partition);
    for (const [tenant, desk] of this.#desks) if (desk.partition === partition) this.#desks.delete(tenant);
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
      return entry
        ? [
            {
              document: entry.of.documentId,
              title: entry.title,
              heading: entry.heading,
              version: entry.of.version,
              text: entry.text,
              score,
              owned: entry.of.owner !== null,
            },
          ]
        : [];
    });
  }

  /** Of a tenant's knowledge: two searches at one version find the same. */
  version(tenant: TenantId): number {
    return this.#desks.get(tenant)?.version ?? -1;
  }

  async #follow(partition: number, signal: AbortSignal, ready: () => void): Promise<void> {
    let target: number | undefined;
    for await (const { records, next, end } of this.#log.follow(TOPIC, partition, 0, signal)) {
      for (const record of records) {
        if (signal.aborted) return;
        await this.#take(partition, record);
      }
      target ??= end;
      if (next >= target) ready();
    }
  }

  async #take(partition: number, { key, value, offset }: Rec): Promise<void> {
    if (key === undefined) return;
    const slash = key.indexOf('/');
    const [tenant, documentId] = [key.slice(0, slash) as TenantId, key.slice(slash + 1)];
    const document = value === null ? undefined : this.#read(tenant, value);
    const desk = this.#desks.get(tenant) ?? newDesk(partition);
    if (desk.partition !== partition) return;
    this.#desks.set(tenant, desk);
    const entries = document ? await this.#index(desk, document) : [];
    for (const { id } of desk.documents.get(documentId) ?? []) {
      desk.entries.delete(id);
      desk.index.discard(id);
    }
    for (const entry of entries) desk.entries.set(entry.id, entry);
    if (document) desk.documents.set(documentId, entries);
    else desk.documents.delete(documentId);
    desk.version = offset;
  }

  /** undefined: nothing that can be searched, so the key holds nothing. One bad record must not keep the others from being read. */
  #read(tenant: TenantId, value: Uint8Array): Document | undefined {
    try {
      const decoded = this.#codec.decode(value);
      return decoded.name === 'knowledge_document' && decoded.value.tenant === tenant ? decoded.value : undefined;
    } catch (error) {
      this.#warn(`a document of ${tenant} cannot be read and is left out`, error as Error);
      return undefined;
    }
  }

  /** In slices, so that nothing else waits for a large document. Until all are in, none is found: `search` asks `entries`. */
  async #index(desk: Desk, document: Document): Promise<readonly Entry[]> {
    const { documentId, title, content } = document;
    const entries = chunkMarkdown(content, title).map(({ heading, text }) => ({
      id: `${documentId}#${this.#nextEntry++}`,
      heading,
      title,
      text,
      of: document,
    }));
    for (const entry of entries) {
      desk.index.add(entry);
      if (performance.now() - this.#turned < SLICE_MS) continue;
      await new Promise((resolve) => setImmediate(resolve));
      this.#turned = performance.now();
    }
    return entries;
  }
}

function newDesk(partition: number): Desk {
  const index = new MiniSearch<Entry>({ fields: ['heading', 'title', 'text'], tokenize: tokens, processTerm: normalise });
  return { partition, index, entries: new Map(), documents: new Map(), version: -1 };
}

function mayRead(document: Document | undefined, { person, agent }: Reader): boolean {
  if (!document) return false;
  if (document.owner !== null && document.owner !== person && !agent) return false;
  return document.audience === 'everyone' || agent || document.owner === person;
}
