/**
 * Words under keys of tenant and person, which open for their own tenant, person and record alone (invariant 8). A person's key is random,
 * wrapped under the platform's, and lives on `tenant.keys` under `tenant/person/key_id`, so that two writers never race and a tombstone
 * erases. Sealed words name their key.
 */
import { type KeyObject, randomBytes } from 'node:crypto';
import { bufferOf } from '#schemas/buffer.ts';
import type { Codec } from '#schemas/codec.ts';
import { deriveKey } from '#schemas/digest.ts';
import { EvenkeelError } from '#schemas/errors.ts';
import type { PersonId, TenantId } from '#schemas/ids.ts';
import { partitionOf, type Topic } from '#schemas/topics.ts';
import type { Output } from '#streams/engine/machine.ts';
import type { Log } from '#streams/engine/ports.ts';
import { KEY_ID_BYTES, keyIdOf, openGcm, openWords, type Random, sealGcm, sealWords, type WordsKey } from './sealed-words.ts';

export interface Vault {
  /** At once for a person whose key is known. `place` is the record that the words belong to, `<request>/<step>`. */
  seal(tenant: TenantId, person: PersonId, place: string, words: Uint8Array): Uint8Array | Promise<Uint8Array>;
  /** @throws EvenkeelError `sealed_unreadable`: wrong tenant, person, place or key, or the key was erased */
  open(tenant: TenantId, person: PersonId, place: string, sealed: Uint8Array): Promise<Uint8Array>;
  /** Every partition of the keys was read to the end it had at opening. */
  readonly ready: Promise<void>;
  readonly failed: Promise<Error>;
  close(): Promise<void>;
}
export type VaultOptions = {
  readonly log: Pick<Log, 'follow'>;
  readonly send: (records: readonly Output[]) => Promise<unknown>;
  readonly codec: Codec;
  readonly masterKey: Uint8Array;
  readonly partitions: number;
  /** As many words are kept open for whoever opens them next, once: a runtime opens a message when it comes and when its turn begins. */
  readonly keptOpen?: number;
};

/** Opened a moment ago, and what was opened. */
type Opened = { readonly at: string; readonly sealed: Uint8Array; readonly words: Uint8Array };

const KEYS: Topic = 'tenant.keys';
const KEY_BYTES = 32;
/** How long a key that another process has just written may take to arrive. */
const KEY_WAIT_MS = 5_000;
const UNWRAPPED_KEYS = 20_000;
const RANDOM_POOL = 4_096;
/** Longer ones are opened again. */
const LONGEST_KEPT_OPEN = 2_048;

export function openVault(options: VaultOptions): Vault {
  return new KafkaVault(options);
}

class KafkaVault implements Vault {
  readonly #options: VaultOptions;
  readonly #wrapping: KeyObject;
  /**
   * Wrapped keys by `tenant/person/key_id`, and each person's newest. A key's bytes stand in a string of as many characters: there is one for
   * every person, a buffer of its own is three times as large, and a slice of Node's pool keeps all 64 KiB of it.
   */
  readonly #wrapped = new Map<string, string>();
  readonly #newest = new Map<string, string>();
  readonly #unwrapped = new Map<string, WordsKey>();
  /** By tenant, person and place, the oldest first. */
  readonly #opened = new Map<string, Opened>();
  /** Keys with a tombstone: their words are gone, whoever still waits for them or was just writing them. */
  readonly #erased = new Set<string>();
  readonly #random = pooledRandom();
  readonly #making = new Map<string, Promise<void>>();
  readonly #awaited = new Map<string, (() => void)[]>();
  readonly #stop = new AbortController();
  readonly ready: Promise<void>;
  readonly failed: Promise<Error>;

  constructor(options: VaultOptions) {
    this.#options = options;
    this.#wrapping = deriveKey(options.masterKey, 'wrap');
    const followed = Array.from({ length: options.partitions }, (_, partition) => this.#follow(partition));
    this.ready = Promise.all(followed.map(({ ready }) => ready)).then(() => undefined);
    this.failed = Promise.race(followed.map(({ failed }) => failed));
  }

  seal(tenant: TenantId, person: PersonId, place: string, words: Uint8Array): Uint8Array | Promise<Uint8Array> {
    const at = this.#newest.get(`${tenant}/${person}`);
    // A key that was just made may be erased already.
    if (at === undefined) return this.#make(tenant, person).then(() => this.seal(tenant, person, place, words));
    return sealWords(this.#key(at), associated(tenant, person, place), words, this.#random);
  }

  async open(tenant: TenantId, person: PersonId, place: string, sealed: Uint8Array): Promise<Uint8Array> {
    const data = associated(tenant, person, place);
    const kept = this.#takeOpened(data, sealed);
    if (kept) return kept;
    const bytes = bufferOf(sealed);
    const keyId = keyIdOf(bytes);
    if (keyId === undefined) throw new EvenkeelError('sealed_unreadable', 'not sealed words of a known version');
    const at = `${tenant}/${person}/${keyId}`;
    if (!this.#wrapped.has(at)) await this.#arrival(at);
    const key = this.#key(at);
    try {
      const words = openWords(key, data, bytes);
      this.#keepOpen(data, { at, sealed, words });
      return words;
    } catch (cause) {
      throw new EvenkeelError('sealed_unreadable', `the words of ${place} do not open under this person's key`, { cause });
    }
  }

  async close(): Promise<void> {
    this.#stop.abort();
  }

  /** The same bytes for the same tenant, person and place, under a key that was not erased since. */
  #takeOpened(data: string, sealed: Uint8Array): Uint8Array | undefined {
    const kept = this.#opened.get(data);
    if (!kept || Buffer.compare(kept.sealed, sealed) !== 0) return undefined;
    this.#opened.delete(data);
    return this.#wrapped.has(kept.at) ? kept.words : undefined;
  }

  #keepOpen(data: string, opened: Opened): void {
    const { keptOpen = 0 } = this.#options;
    if (keptOpen === 0 || opened.words.byteLength > LONGEST_KEPT_OPEN) return;
    const oldest = this.#opened.size >= keptOpen ? this.#opened.keys().next().value : undefined;
    if (oldest !== undefined) this.#opened.delete(oldest);
    this.#opened.set(data, opened);
  }

  /** Side by side first seals of a person make one key. */
  #make(tenant: TenantId, person: PersonId): Promise<void> {
    const who = `${tenant}/${person}`;
    let making = this.#making.get(who);
    if (!making) {
      making = this.#write(tenant, person).finally(() => this.#making.delete(who));
      this.#making.set(who, making);
    }
    return making;
  }

  async #write(tenant: TenantId, person: PersonId): Promise<void> {
    const { codec, partitions, send } = this.#options;
    const keyId = Buffer.from(this.#random(KEY_ID_BYTES)).toString('hex');
    const at = `${tenant}/${person}/${keyId}`;
    const wrapped = sealGcm(this.#wrapping, at, this.#random(KEY_BYTES), this.#random);
    const value = codec.encode('person_key', { tenant, person, keyId, wrapped });
    await send([{ topic: KEYS, partition: partitionOf(tenant, partitions), key: at, value }]);
    // Its tombstone may have been read before the reply to this write came: who seals makes another.
    if (!this.#erased.has(at)) this.#learn(at, wrapped);
  }

  #follow(partition: number): { readonly ready: Promise<void>; readonly failed: Promise<Error> } {
    let markReady: () => void = () => undefined;
    const ready = new Promise<void>((resolve) => {
      markReady = resolve;
    });
    const run = async (): Promise<never> => {
      let target: number | undefined;
      for await (const { records, next, end } of this.#options.log.follow(KEYS, partition, 0, this.#stop.signal)) {
        for (const { key, value } of records) if (key !== undefined) this.#record(key, value);
        target ??= end;
        if (next >= target) markReady();
      }
      return new Promise<never>(() => undefined);
    };
    return { ready, failed: run().catch((error: Error) => error) };
  }

  #record(at: string, value: Uint8Array | null): void {
    if (value === null) return this.#erase(at);
    const decoded = this.#options.codec.decode(value);
    if (decoded.name === 'person_key') this.#learn(at, decoded.value.wrapped);
  }

  #erase(at: string): void {
    this.#erased.add(at);
    this.#wrapped.delete(at);
    this.#unwrapped.delete(at);
    for (const [data, opened] of this.#opened) if (opened.at === at) this.#opened.delete(data);
    const who = at.slice(0, at.lastIndexOf('/'));
    if (this.#newest.get(who) === at) this.#newest.delete(who);
    this.#arrived(at);
  }

  #learn(at: string, wrapped: Uint8Array): void {
    this.#wrapped.set(at, bufferOf(wrapped).toString('latin1'));
    this.#newest.set(at.slice(0, at.lastIndexOf('/')), at);
    this.#arrived(at);
  }

  #arrived(at: string): void {
    for (const arrived of this.#awaited.get(at) ?? []) arrived();
    this.#awaited.delete(at);
  }

  /** @throws EvenkeelError `sealed_unreadable` when the key does not come, at once when it was erased */
  async #arrival(at: string): Promise<void> {
    if (!this.#erased.has(at)) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => this.#arrived(at), KEY_WAIT_MS);
        const arrived = () => {
          clearTimeout(timer);
          resolve();
        };
        this.#awaited.set(at, [...(this.#awaited.get(at) ?? []), arrived]);
      });
    }
    if (!this.#wrapped.has(at)) throw new EvenkeelError('sealed_unreadable', 'the key of these words is not known: it was erased, or never written');
  }

  #key(at: string): WordsKey {
    const known = this.#unwrapped.get(at);
    if (known) return known;
    const wrapped = this.#wrapped.get(at);
    if (wrapped === undefined) throw new EvenkeelError('sealed_unreadable', 'the key of these words was erased');
    const key = { bytes: ownCopy(this.#unwrap(at, wrapped)), id: ownCopy(Buffer.from(at.slice(at.lastIndexOf('/') + 1), 'hex')) };
    const oldest = this.#unwrapped.size >= UNWRAPPED_KEYS ? this.#unwrapped.keys().next().value : undefined;
    if (oldest !== undefined) this.#unwrapped.delete(oldest);
    this.#unwrapped.set(at, key);
    return key;
  }

  #unwrap(at: string, wrapped: string): Buffer {
    try {
      return openGcm(this.#wrapping, at, Buffer.from(wrapped, 'latin1'));
    } catch (cause) {
      throw new EvenkeelError('sealed_unreadable', "a person's key does not unwrap: is EVENKEEL_MASTER_KEY the one that it was written under?", { cause });
    }
  }
}

/** The associated data: whose words they are, and where they belong. */
function associated(tenant: TenantId, person: PersonId, place: string): string {
  return `${tenant}\n${person}\n${place}`;
}

/** Not a slice of Node's pool, which would be kept as long. */
function ownCopy(bytes: Uint8Array): Buffer {
  const own = Buffer.allocUnsafeSlow(bytes.byteLength);
  own.set(bytes);
  return own;
}

/** Random bytes cost per call, not per byte. Each byte is handed out once: a nonce must never come twice under one key. */
function pooledRandom(): Random {
  let pool = randomBytes(RANDOM_POOL);
  let at = 0;
  return (bytes) => {
    if (at + bytes > RANDOM_POOL) [pool, at] = [randomBytes(RANDOM_POOL), 0];
    at += bytes;
    return pool.subarray(at - bytes, at);
  };
}
