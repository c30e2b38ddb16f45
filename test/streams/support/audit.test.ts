import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { tenantId } from '#schemas/ids.ts';
import { type AuditEntry, ChainVerifier, type Copied, extendChain, NO_ENTRY, verifyChain } from '#streams/support/audit.ts';
import { link } from '#test/chaos/check-audit.ts';

const ACME = tenantId('acme');
const events = fc
  .array(fc.record({ gap: fc.integer({ min: 1, max: 3 }), time: fc.nat(), event: fc.uint8Array({ maxLength: 40 }) }), { minLength: 1, maxLength: 40 })
  .map((list) => {
    let offset = 0;
    return list.map(({ gap, time, event }): Copied => {
      offset += gap;
      return { offset, time, event };
    });
  });
const chainOf = (list: readonly Copied[]) => extendChain(ACME, 3, NO_ENTRY, list);
const kinds = (entries: readonly AuditEntry[]) => verifyChain(ACME, entries).problems.map(({ kind }) => kind);

describe('the audit chain', () => {
  test('is a SHA-256 over the last hash and the bytes of each entry, small and large', () => {
    const large = { offset: Number.MAX_SAFE_INTEGER, time: 2 ** 40 + 1, event: Buffer.alloc(100_000, 'x') };
    const entries = chainOf([{ offset: 2 ** 32, time: 2 ** 31, event: Buffer.from('a') }, large, { offset: 1, time: 1, event: Buffer.from('b') }]);
    let last: Uint8Array = Buffer.alloc(32);
    for (const entry of entries) {
      // As the judge of the chaos rounds has it, who shares no code with what it judges.
      last = link(last, entry);
      expect(Buffer.from(entry.hash)).toEqual(last);
    }
  });

  test('is the same however the history is cut into rounds', () => {
    fc.assert(
      fc.property(events, fc.array(fc.nat(40)), (list, cuts) => {
        const bounds = [0, ...cuts.filter((cut) => cut < list.length).sort((a, b) => a - b), list.length];
        const entries: AuditEntry[] = [];
        for (const [at, from] of bounds.slice(0, -1).entries())
          entries.push(...extendChain(ACME, 3, entries.at(-1) ?? NO_ENTRY, list.slice(from, bounds[at + 1])));
        expect(entries).toEqual(chainOf(list));
      }),
    );
  });

  test('verifies: numbers from 1, no gap, the head of its last entry', () => {
    fc.assert(
      fc.property(events, (list) => {
        const entries = chainOf(list);
        const report = verifyChain(ACME, entries);
        expect(report).toEqual({ count: list.length, first: 1, head: { sequence: list.length, hash: entries.at(-1)?.hash }, repeated: 0, problems: [] });
      }),
    );
  });

  test('sent again from anywhere, and compacted in part, it still verifies', () => {
    fc.assert(
      fc.property(events, fc.nat(), fc.nat(), fc.nat(), (list, a, b, c) => {
        const entries = chainOf(list);
        const crash = a % (entries.length + 1);
        const again = b % (crash + 1);
        const log = [...entries.slice(0, crash), ...entries.slice(again)];
        const compactedTo = c % (log.length + 1);
        const compacted = log.filter((entry, at) => at >= compactedTo || !log.slice(at + 1).some((later) => later.sequence === entry.sequence));
        const report = verifyChain(ACME, compacted);
        expect(report.problems).toEqual([]);
        expect(report.count).toBe(entries.length);
      }),
    );
  });

  test('any change to any field is found', () => {
    fc.assert(
      fc.property(events, fc.nat(), fc.constantFrom('partition', 'offset', 'time', 'event', 'hash'), (list, index, field) => {
        const entries = [...chainOf(list)];
        const at = index % entries.length;
        const entry = entries[at] as AuditEntry;
        const longer = (bytes: Uint8Array) => Uint8Array.from([...bytes, 1]);
        const changed = {
          event: longer(entry.event),
          hash: Uint8Array.from(entry.hash, (byte) => byte ^ 1),
          time: entry.time + 1,
          offset: entry.offset + 1,
          partition: 4,
        };
        entries[at] = { ...entry, [field]: changed[field] };
        expect(kinds(entries)).toContain('broken');
      }),
    );
  });

  test('a lost entry within is a gap; a lost head is seen by its first number', () => {
    fc.assert(
      fc.property(
        events.filter((list) => list.length >= 3),
        fc.nat(),
        (list, index) => {
          const entries = chainOf(list);
          const at = 1 + (index % (entries.length - 2));
          expect(kinds(entries.filter((_, each) => each !== at))).toEqual(['gap']);
          const cut = verifyChain(ACME, entries.slice(at));
          expect([cut.first, cut.problems]).toEqual([at + 1, []]);
        },
      ),
    );
  });

  test('a second history is a fork, whether its hash follows or is claimed', () => {
    const list = [1, 2, 3].map((offset): Copied => ({ offset, time: offset, event: Buffer.from(`e${offset}`) }));
    const entries = chainOf(list);
    const other = chainOf([...list.slice(0, 2), { offset: 3, time: 3, event: Buffer.from('other') }]);
    expect(kinds([...entries, other[2] as AuditEntry])).toEqual(['fork']);
    const claimed = { ...(entries[2] as AuditEntry), event: Buffer.from('other') };
    expect(kinds([...entries, claimed])).toEqual(['broken']);
    expect(kinds([entries[2] as AuditEntry, claimed])).toEqual(['fork']);
  });

  test("another tenant's entry does not belong there", () => {
    const foreign = extendChain(tenantId('other'), 3, NO_ENTRY, [{ offset: 1, time: 1, event: Buffer.from('x') }]);
    const verifier = new ChainVerifier(ACME);
    for (const entry of foreign) verifier.add(entry);
    expect(verifier.report().problems.map(({ kind }) => kind)).toEqual(['foreign']);
  });
});
