/** The vault: words open for their own tenant, person and place only (invariant 8), and an erased key closes them for good. */
import { createCipheriv } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { afterEach, expect, test, vi } from 'vitest';
import { createCodec, localSchemas } from '#schemas/codec.ts';
import { deriveKey } from '#schemas/digest.ts';
import type { PersonId, TenantId } from '#schemas/ids.ts';
import { partitionOf } from '#schemas/topics.ts';
import { openGcm } from '#services/sealed-words.ts';
import { openVault, type Vault } from '#services/vault.ts';
import type { Output } from '#streams/engine/machine.ts';
import { MemoryBroker, memoryLog } from '#streams/memory/partition-log.ts';

const codec = createCodec(localSchemas());
const PARTITIONS = 4;
const [acme, globex] = ['acme', 'globex'] as TenantId[] as [TenantId, TenantId];
const [ada, bob] = ['p_ada', 'p_bob'] as PersonId[] as [PersonId, PersonId];
const words = (text: string) => Buffer.from(text);
const opened: Vault[] = [];

afterEach(async () => {
  vi.useRealTimers();
  for (const vault of opened.splice(0)) await vault.close();
});

function world() {
  const broker = new MemoryBroker(() => 0);
  const written: Output[] = [];
  const append = (records: readonly Output[]) => {
    for (const record of records) {
      written.push(record);
      broker.append(record, record.partition ?? 0);
    }
  };
  const open = async (options: { masterKey?: Uint8Array; send?: (records: readonly Output[]) => Promise<unknown>; keptOpen?: number } = {}): Promise<Vault> => {
    const log = memoryLog({ broker, topics: { history: 'tenant.events', words: 'support.steps' }, owned: () => true });
    const send = options.send ?? (async (records: readonly Output[]) => append(records));
    const { masterKey = new Uint8Array(32).fill(7), keptOpen = 0 } = options;
    const vault = openVault({ log, send, codec, masterKey, partitions: PARTITIONS, keptOpen });
    opened.push(vault);
    await vault.ready;
    return vault;
  };
  return { written, append, open };
}

test('words open as they were sealed, and are not to be seen in what is stored', async () => {
  const { open, written } = world();
  const vault = await open();
  const sealed = await vault.seal(acme, ada, 'r_1/message', words('canary-7f3a'));
  expect(Buffer.from(await vault.open(acme, ada, 'r_1/message', sealed)).toString()).toBe('canary-7f3a');
  expect(Buffer.from(sealed).includes('canary-7f3a')).toBe(false);
  expect(written).toHaveLength(1);
  expect(written[0]).toMatchObject({ topic: 'tenant.keys', partition: partitionOf(acme, PARTITIONS) });
  expect(written[0]?.key).toMatch(/^acme\/p_ada\/[0-9a-f]{32}$/);
});

test.each([0, 10])('invariant 8: another tenant, person or place, or a changed byte, opens nothing, with %d kept open', async (keptOpen) => {
  vi.useFakeTimers();
  const vault = await world().open({ keptOpen });
  const sealed = await vault.seal(acme, ada, 'r_1/message', words('canary'));
  await vault.open(acme, ada, 'r_1/message', sealed);
  await Promise.all([vault.seal(globex, ada, 'x', words('')), vault.seal(acme, bob, 'x', words(''))]);
  const tampered = Uint8Array.from(sealed, (byte, at) => (at === sealed.length - 1 ? byte ^ 1 : byte));
  const attempts = [
    vault.open(globex, ada, 'r_1/message', sealed),
    vault.open(acme, bob, 'r_1/message', sealed),
    vault.open(acme, ada, 'r_2/message', sealed),
    vault.open(acme, ada, 'r_1/message', tampered),
    vault.open(acme, ada, 'r_1/message', sealed.subarray(0, 20)),
    vault.open(acme, ada, 'r_1/message', new Uint8Array(0)),
  ].map((attempt) =>
    attempt.then(
      () => 'opened',
      (error: { code: string }) => error.code,
    ),
  );
  await vi.advanceTimersByTimeAsync(6_000);
  expect(await Promise.all(attempts)).toEqual(Array(6).fill('sealed_unreadable'));
});

/** As they were sealed before version 2: AES-256-GCM, with a nonce of 12 bytes. */
function sealedBefore(key: Uint8Array, keyId: string, place: string, text: string): Uint8Array {
  const nonce = Buffer.alloc(12, 5);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(Buffer.from(place));
  return Buffer.concat([Buffer.from([1]), Buffer.from(keyId, 'hex'), nonce, cipher.update(words(text)), cipher.final(), cipher.getAuthTag()]);
}

test('words of the first version open still, for their own place only: a history is never rewritten', async () => {
  const { open, written } = world();
  const masterKey = new Uint8Array(32).fill(7);
  const vault = await open({ masterKey });
  await vault.seal(acme, ada, 'r_1/message', words('makes the key'));
  const { key: at = '', value } = written[0] as Output;
  const { wrapped } = codec.decode(value as Uint8Array).value as { wrapped: Uint8Array };
  const [key, keyId] = [openGcm(deriveKey(masterKey, 'wrap'), at, wrapped), at.slice(at.lastIndexOf('/') + 1)];
  const sealed = sealedBefore(key, keyId, 'acme\np_ada\nr_0/message', 'from long ago');
  expect(Buffer.from(await vault.open(acme, ada, 'r_0/message', sealed)).toString()).toBe('from long ago');
  await expect(vault.open(acme, ada, 'r_2/message', sealed)).rejects.toMatchObject({ code: 'sealed_unreadable' });
  for (const bytes of [
    sealed.subarray(0, 44),
    Buffer.concat([Buffer.from([2]), sealed.subarray(1, 56)]),
    Buffer.concat([Buffer.from([3]), sealed.subarray(1)]),
  ])
    await expect(vault.open(acme, ada, 'r_0/message', bytes)).rejects.toMatchObject({ code: 'sealed_unreadable', message: expect.stringContaining('version') });
});

test('bytes of any length and version that nobody sealed open nothing, in a buffer or inside a larger one', async () => {
  const vault = await world().open();
  const keyId = (await vault.seal(acme, ada, 'a', words('A'))).slice(1, 17);
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(0, 1, 2, 3, 255), fc.uint8Array({ maxLength: 90 }), fc.nat(120), async (version, rest, cut) => {
      const bytes = Uint8Array.of(9, 9, 9, version, ...keyId, ...rest, 9).subarray(3, -1);
      // Without its key id it would be waited for.
      const hostile = cut < 17 ? bytes.subarray(0, cut) : bytes;
      await expect(vault.open(acme, ada, 'a', hostile)).rejects.toMatchObject({ code: 'sealed_unreadable' });
    }),
    { numRuns: 500 },
  );
});

test('sealing the same words twice gives other bytes each time, and no words can be sealed too', async () => {
  const vault = await world().open();
  const [first, second] = await Promise.all([vault.seal(acme, ada, 'r_1/message', words('same')), vault.seal(acme, ada, 'r_1/message', words('same'))]);
  expect(Buffer.compare(first as Uint8Array, second as Uint8Array)).not.toBe(0);
  expect(await vault.open(acme, ada, 'r_1/result', await vault.seal(acme, ada, 'r_1/result', words('')))).toHaveLength(0);
});

test('no two words are sealed with one nonce, however many are sealed', async () => {
  const vault = await world().open();
  const nonces = new Set<string>();
  for (let at = 0; at < 1_000; at++) nonces.add(Buffer.from(await vault.seal(acme, ada, 'r_1/message', words('same'))).toString('hex', 17, 41));
  expect(nonces.size).toBe(1_000);
});

test('first seals side by side make one key, and wait for it to be written', async () => {
  const { open, append, written } = world();
  let confirm = () => {};
  const acknowledged = new Promise<void>((resolve) => {
    confirm = resolve;
  });
  const vault = await open({
    send(records) {
      append(records);
      return acknowledged;
    },
  });
  let sealed = 0;
  const seals = Array.from({ length: 50 }, async (_, at) => {
    await vault.seal(acme, ada, `r_${at}/message`, words('x'));
    sealed++;
  });
  expect([written.length, sealed]).toEqual([1, 0]);
  confirm();
  await Promise.all(seals);
  expect([written.length, sealed]).toEqual([1, 50]);
});

test('a key that another process wrote opens its words here; two keys of a person both open', async () => {
  const { open } = world();
  const [gateway, runtime] = [await open(), await open()];
  const [a, b] = await Promise.all([gateway.seal(acme, ada, 'a', words('A')), runtime.seal(acme, ada, 'b', words('B'))]);
  const late = await open();
  for (const vault of [gateway, runtime, late]) {
    expect(Buffer.from(await vault.open(acme, ada, 'a', a)).toString()).toBe('A');
    expect(Buffer.from(await vault.open(acme, ada, 'b', b)).toString()).toBe('B');
  }
});

test('a key that comes a little later is waited for; one that never comes is an error after a bound', async () => {
  const { open, append } = world();
  const held: Output[] = [];
  const writer = await open({ send: async (records) => held.push(...records) });
  const reader = await open();
  const sealed = await writer.seal(acme, ada, 'a', words('A'));
  const waiting = reader.open(acme, ada, 'a', sealed);
  append(held);
  expect(Buffer.from(await waiting).toString()).toBe('A');
  vi.useFakeTimers();
  const never = (await world().open()).open(acme, ada, 'a', sealed).catch((error: { code: string }) => error.code);
  await vi.advanceTimersByTimeAsync(5_001);
  expect(await never).toBe('sealed_unreadable');
});

test('words that were opened a moment ago open again, whatever else was kept meanwhile', async () => {
  const vault = await world().open({ keptOpen: 2 });
  const sealed = await Promise.all(['a', 'b', 'c'].map((place) => vault.seal(acme, ada, place, words(place))));
  for (const _ of [1, 2, 3])
    for (const [at, place] of ['a', 'b', 'c'].entries())
      expect(Buffer.from(await vault.open(acme, ada, place, sealed[at] as Uint8Array)).toString()).toBe(place);
});

test.each([0, 10])(
  'a tombstone erases: old words stay closed, at once and after a restart, and new words get a new key, with %d kept open',
  async (keptOpen) => {
    const { open, append, written } = world();
    const vault = await open({ keptOpen });
    const sealed = await vault.seal(acme, ada, 'a', words('A'));
    await vault.open(acme, ada, 'a', sealed);
    append([{ topic: 'tenant.keys', partition: partitionOf(acme, PARTITIONS), key: written[0]?.key as string, value: null }]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    for (const each of [vault, await open()]) await expect(each.open(acme, ada, 'a', sealed)).rejects.toMatchObject({ code: 'sealed_unreadable' });
    const again = await vault.seal(acme, ada, 'b', words('B'));
    expect(again.slice(1, 17)).not.toEqual(sealed.slice(1, 17));
  },
);

test('a key that was erased while its write was on its way does not come back with the reply', async () => {
  const { open, append } = world();
  let first = true;
  const vault = await open({
    async send(records) {
      append(records);
      if (!first) return;
      first = false;
      append([{ ...(records[0] as Output), value: null }]);
      await new Promise((resolve) => setTimeout(resolve, 20));
    },
  });
  const sealed = await vault.seal(acme, ada, 'a', words('A'));
  expect(Buffer.from(await (await open()).open(acme, ada, 'a', sealed)).toString()).toBe('A');
});

test('a key that is erased at any moment of a first seal is not sealed under: the words take another', async () => {
  for (let ticks = 0; ticks < 30; ticks++) {
    const { open, append, written } = world();
    const erase = async ({ key = '', partition = 0 }: Partial<Output>) => {
      for (let left = ticks; left > 0; left--) await undefined;
      append([{ topic: 'tenant.keys', partition, key, value: null }]);
    };
    const vault = await open({
      async send(records) {
        append(records);
        if (written.length === 1) void erase(records[0] as Output);
      },
    });
    expect(await vault.seal(acme, ada, 'a', words('A')), `erased after ${ticks}`).toBeInstanceOf(Uint8Array);
  }
});

test('what is kept of a person is small, however much else is read and written between one and the next', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const { open, append } = world();
  // What the log itself keeps is not looked at.
  const send = async (records: readonly Output[]) => append(records.map((record) => ({ ...record, value: Uint8Array.from(record.value ?? []) })));
  const [gateway, runtime] = [await open({ send }), await open()];
  const buffers = () => {
    collect();
    return process.memoryUsage().arrayBuffers;
  };
  const before = buffers();
  const persons = Array.from({ length: 200 }, (_, at) => `p_${at}` as PersonId);
  for (const person of persons) {
    const sealed = await gateway.seal(acme, person, 'a', words('A'));
    await runtime.open(acme, person, 'a', sealed);
    for (let left = Buffer.poolSize; left > 0; left -= 1_024) Buffer.allocUnsafe(1_024);
  }
  const ofEach = () => (buffers() - before) / persons.length;
  // A thread of the collector's own frees them, after it has answered.
  for (let left = 300; left > 0 && ofEach() >= 4_096; left--) await new Promise((resolve) => setImmediate(resolve));
  expect(ofEach()).toBeLessThan(4_096);
  for (const vault of [gateway, runtime]) await vault.seal(acme, persons[0] as PersonId, 'b', words('B'));
});

test('under another master key a person’s key does not unwrap, and the error says which setting to look at', async () => {
  const { open } = world();
  const sealed = await (await open()).seal(acme, ada, 'a', words('A'));
  const other = await open({ masterKey: new Uint8Array(32).fill(8) });
  await expect(other.open(acme, ada, 'a', sealed)).rejects.toThrow(/EVENKEEL_MASTER_KEY/);
});

test('5,000 seals of known people a second: the path waits for nothing', async () => {
  const vault = await world().open();
  await vault.seal(acme, ada, 'warm', words('x'));
  const started = performance.now();
  for (let at = 0; at < 5_000; at++) await vault.seal(acme, ada, `r_${at}/message`, words('How do I add a hook?'));
  expect(performance.now() - started).toBeLessThan(1_000);
});
