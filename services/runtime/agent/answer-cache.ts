/**
 * Answers that may be given again when no model can be asked. A key has one maker and names all that an answer follows from, so that a
 * hit is what the model would have been asked anew, and never another tenant's or audience's (invariant 8). Bounded in bytes.
 */
import { sha256Text } from '#schemas/digest.ts';
import type { TenantId } from '#schemas/ids.ts';

declare const made: unique symbol;
/** `tenant/digest`. */
export type CacheKey = string & { readonly [made]: true };
export type KeyOf = {
  readonly tenant: TenantId;
  /** Whose documents were searched. */
  readonly audience: 'everyone' | 'agents';
  readonly policyVersion: number;
  readonly knowledgeVersion: number;
  readonly model: string;
  /** Version of the instructions and rules that shaped the answer. */
  readonly rules: string;
  readonly question: string;
};

/** Case, spaces and the mark at the end do not make another question. */
const normalised = (question: string): string =>
  question
    .normalize('NFKC')
    .toLowerCase()
    .replace(/\s+/g, ' ')
    .replace(/[ ?!.]+$/, '')
    .trim();

export function cacheKey({ tenant, audience, policyVersion, knowledgeVersion, model, rules, question }: KeyOf): CacheKey {
  const named = JSON.stringify([audience, policyVersion, knowledgeVersion, model, rules, normalised(question)]);
  return `${tenant}/${sha256Text(named)}` as CacheKey;
}

/** What an entry takes beside its own characters. */
const ENTRY_BYTES = 200;
/** Of the cache one tenant may fill this part. */
const TENANT_PART = 8;

type Entry = { readonly json: string; readonly bytes: number };
type Shelf = { readonly entries: Map<CacheKey, Entry>; bytes: number };

export class AnswerCache<A> {
  readonly #most: number;
  /** The least lately used first, of tenants and of each tenant's answers. */
  readonly #shelves = new Map<string, Shelf>();
  #bytes = 0;

  constructor(mostBytes: number) {
    this.#most = mostBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(key: CacheKey): A | undefined {
    const shelf = this.#shelf(key);
    const found = shelf?.entries.get(key);
    if (!shelf || !found) return undefined;
    shelf.entries.delete(key);
    shelf.entries.set(key, found);
    return JSON.parse(found.json) as A;
  }

  put(key: CacheKey, answer: A): void {
    const json = JSON.stringify(answer);
    // A string takes at most two bytes a character.
    const entry = { json, bytes: 2 * (json.length + key.length) + ENTRY_BYTES };
    const share = this.#most / TENANT_PART;
    if (entry.bytes > share) return;
    const shelf = this.#shelf(key) ?? { entries: new Map(), bytes: 0 };
    this.#shelves.set(tenantOf(key), shelf);
    this.#drop(shelf, key);
    shelf.entries.set(key, entry);
    shelf.bytes += entry.bytes;
    this.#bytes += entry.bytes;
    while (shelf.bytes > share) this.#dropOldest(tenantOf(key), shelf);
    while (this.#bytes > this.#most) {
      const [tenant, oldest] = this.#shelves.entries().next().value as [string, Shelf];
      this.#dropOldest(tenant, oldest);
    }
  }

  #shelf(key: CacheKey): Shelf | undefined {
    const tenant = tenantOf(key);
    const shelf = this.#shelves.get(tenant);
    if (!shelf) return undefined;
    this.#shelves.delete(tenant);
    this.#shelves.set(tenant, shelf);
    return shelf;
  }

  #dropOldest(tenant: string, shelf: Shelf): void {
    this.#drop(shelf, shelf.entries.keys().next().value as CacheKey);
    if (shelf.entries.size === 0) this.#shelves.delete(tenant);
  }

  #drop(shelf: Shelf, key: CacheKey): void {
    const bytes = shelf.entries.get(key)?.bytes ?? 0;
    shelf.entries.delete(key);
    shelf.bytes -= bytes;
    this.#bytes -= bytes;
  }
}

const tenantOf = (key: CacheKey): string => key.slice(0, key.indexOf('/'));
