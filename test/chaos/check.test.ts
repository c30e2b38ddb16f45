/** The checker itself: it takes a healthy history, and refuses each that breaks an invariant. */
import { describe, expect, test } from 'vitest';
import { judge } from './check.ts';
import { History } from './history.ts';

/** Two requests, a takeover between them, a forged record and one that went to the wrong partition. */
function healthy(story: (history: History) => void = () => undefined): History {
  const history = new History();
  history.commit([]);
  history.create();
  history.report(3);
  history.queue('a');
  history.run('a');
  history.takeover();
  const { offset } = history.request('forged');
  history.letter(offset);
  history.commit([], { 'support.requests': offset + 1 });
  history.request('b', { partition: 1 });
  history.request('b', { headers: { 'ek-rerouted': Buffer.from('1') } });
  history.commit([history.queued('b')], { 'support.requests': offset + 2 });
  history.words('b', 'message', 1);
  history.run('b');
  story(history);
  return history;
}

/** Partition 1 has consumed what went astray: its own history says so. */
function settledAstray(history: History): History {
  const batch = history.topics['tenant.events']?.[0];
  if (batch?.decoded?.name !== 'batch') throw new Error('the history begins with a batch');
  const next = (history.topics['support.requests'] ?? []).filter(({ partition }) => partition === 1).length;
  history.committed['support.requests/1'] = { before: next, after: next };
  const value = { ...batch.decoded.value, number: 1, events: 0, inputs: [{ topic: 'support.requests', next }] };
  history.append('tenant.events', 'batch', value, { partition: 1 });
  return history;
}

const judged = (history: History) => judge(settledAstray(history).evidence());

test('a healthy history is taken, and nothing of it is open', () => {
  const history = healthy();
  history.audit();
  const { problems, open, seen } = judged(history);
  expect(problems).toEqual([]);
  expect(open).toEqual({ inputs: 0, requests: 0, audit: 0 });
  expect(seen).toMatchObject({ queued: 2, ended: 2, letters: 1, owners: 3, acknowledged: 1 });
});

test('what is not done yet is open, and no problem', () => {
  const history = healthy((each) => {
    each.queue('c');
    each.hold('c');
    each.request('d');
  });
  expect(judged(history)).toMatchObject({ problems: [], open: { inputs: 1, requests: 1, audit: 18 } });
});

test('entries that were sent again after a crash are the same, and no fork', () => {
  const history = healthy();
  history.audit();
  const entries = history.topics['audit.acme'] ?? [];
  entries.push(...entries.slice(-3));
  expect(judged(history).problems).toEqual([]);
});

/** Each breaks one rule after an otherwise healthy life. */
const BROKEN: Readonly<Record<string, readonly [invariant: number, story: (history: History) => void]>> = {
  'a request that was acknowledged and is not there': [10, (h) => h.acknowledged.push({ tenant: 'acme', request: 'r_lost', said: 'queued' })],
  'a record that Kafka acknowledged and does not have': [
    10,
    (h) => h.acknowledged.push({ tenant: 'acme', request: 'r_a', said: 'produced', at: { partition: 0, offset: 99 } }),
  ],
  'an acknowledged request among the dead letters': [
    10,
    (h) => {
      const { offset } = h.request('c');
      h.letter(offset, 'unavailable');
      h.commit([], { 'support.requests': offset + 1 });
      h.acknowledged.push({ tenant: 'acme', request: 'r_c', said: 'produced', at: { partition: 0, offset } });
    },
  ],
  'a request that is queued twice': [10, (h) => h.queue('a')],
  'a transaction without its last event': [10, (h) => h.commit([], {}, 1)],
  'a step that starts again while it runs': [
    10,
    (h) => {
      h.queue('c');
      h.hold('c');
      h.start('c');
      h.start('c', 2, 30);
    },
  ],
  'words that are lost': [10, (h) => void h.topics['support.steps']?.pop()],
  'words that stand there twice': [10, (h) => h.words('a', 'model-1', 1)],
  'a record that is consumed without a verdict': [2, (h) => h.commit([], { 'support.requests': h.request('c').offset + 1 })],
  'a verdict without a record': [2, (h) => h.commit([h.queued('c')])],
  'a command that is consumed without an answer': [
    2,
    (h) => {
      const command = { tenantId: 'acme', commandId: 'late', by: 'ops', role: 'operator', changes: '{}' };
      h.commit([], { 'tenant.commands': h.append('tenant.commands', 'create_tenant', command).offset + 1 });
    },
  ],
  'refusals that are not counted': [2, (h) => h.report(5, [])],
  'refusals that are counted twice': [2, (h) => h.report(5, [5, 5])],
  'a record that went astray and was not published again': [2, (h) => void h.request('c', { partition: 1 })],
  'a record that went astray and was published twice': [
    2,
    (h) => {
      const { offset } = h.request('b', { headers: { 'ek-rerouted': Buffer.from('1') } });
      h.commit([], { 'support.requests': offset + 1 });
    },
  ],
  "a group's offset before the history's": [2, (h) => Object.assign(h.committed, { 'support.requests/0': { before: 1, after: 1 } })],
  "a group's offset beyond the history's": [2, (h) => Object.assign(h.committed, { 'support.requests/0': { before: 99, after: 99 } })],
  'a request that ends twice': [1, (h) => h.commit([h.finished('a')])],
  'an end of what was never queued': [1, (h) => h.commit([h.finished('c')])],
  'a request without its result': [1, (h) => void h.topics['support.results']?.pop()],
  'a request with two results': [1, (h) => h.told('a')],
  'a result that says something else': [
    1,
    (h) => {
      h.topics['support.results']?.pop();
      h.told('b', 'handed_off');
    },
  ],
  'two turns of one conversation at once': [
    1,
    (h) => {
      h.queue('c', 'talk');
      h.queue('d', 'talk');
      h.hold('c', 100, 1_000, 'talk');
      h.hold('d', 100, 1_000, 'talk');
    },
  ],
  'a hold beyond the day': [
    4,
    (h) => {
      h.queue('c');
      h.hold('c', 5_000_000);
    },
  ],
  'a hold beyond the tokens': [
    4,
    (h) => {
      h.queue('c');
      h.hold('c', 100, 1_000_000_000);
    },
  ],
  'a hold that is placed twice': [
    4,
    (h) => {
      h.queue('c');
      h.hold('c');
      h.hold('c');
    },
  ],
  'a hold that is never settled': [
    4,
    (h) => {
      h.queue('c');
      h.hold('c');
      h.commit([h.finished('c', 0)]);
      h.told('c', 'answered', 0);
    },
  ],
  'a hold that is settled twice': [4, (h) => h.commit([h.settled('a')])],
  'a settlement that is not the sum of the costs': [
    4,
    (h) => {
      h.queue('c');
      h.hold('c');
      h.start('c');
      h.result('c');
      h.commit([h.settled('c', 39), h.finished('c')]);
      h.told('c');
    },
  ],
  'a cost beyond what was announced': [
    4,
    (h) => {
      h.queue('c');
      h.hold('c');
      h.start('c');
      h.commit([h.cost('c', 61)]);
    },
  ],
  'a cost after the settlement': [4, (h) => h.commit([h.cost('a')])],
  "a zombie's record in the history": [
    6,
    (h) => {
      h.producer = { ...h.producer, epoch: 1 };
      h.commit([]);
    },
  ],
  "a zombie's record among the results": [
    6,
    (h) => {
      const { producer } = h;
      h.queue('c');
      h.hold('c');
      h.start('c');
      h.result('c');
      h.commit([h.settled('c'), h.finished('c')]);
      h.producer = { ...producer, epoch: 1 };
      h.told('c');
    },
  ],
  'an earlier producer that comes back': [
    6,
    (h) => {
      const { producer } = h;
      h.producer = { id: '2000', epoch: 0 };
      h.commit([]);
      h.producer = producer;
      h.commit([]);
    },
  ],
  'two batches of one number': [
    6,
    (h) => {
      h.repeatNumber();
      h.commit([]);
    },
  ],
  'more in flight than the tenant may have': [
    7,
    (h) => {
      for (let at = 0; at < 9; at++) {
        h.queue(`c${at}`);
        h.hold(`c${at}`);
      }
    },
  ],
  'more in flight than the partition may have': [
    7,
    (h) => {
      h.cap = 1;
      h.queue('c');
      h.queue('d');
      h.hold('c');
      h.hold('d');
    },
  ],
  'a start while the tenant is suspended': [
    7,
    (h) => {
      h.queue('c');
      h.command('stop', { type: 'tenant_suspended' });
      h.hold('c');
    },
  ],
  'more starts a second than the tenant may have': [
    7,
    (h) => {
      for (let at = 0; at < 60; at++) {
        h.queue(`c${at}`);
        h.now -= 30;
        h.run(`c${at}`);
        h.now -= 40;
      }
    },
  ],
  'a step of what does not run': [
    7,
    (h) => {
      h.queue('c');
      h.start('c');
    },
  ],
};

describe('a broken history is refused', () => {
  test.each(Object.entries(BROKEN))('%s', (_what, [invariant, story]) => {
    const history = healthy(story);
    history.audit();
    expect(judged(history).problems.join('\n')).toMatch(new RegExp(`invariant ${invariant}:`));
  });
});

describe('invariant 9: an audit is refused', () => {
  const audited = (change: (entries: History['topics'][string], history: History) => void): string => {
    const history = healthy();
    history.audit();
    change(history.topics['audit.acme'] ?? [], history);
    return judged(history).problems.join('\n');
  };
  const rewrite = (history: History, at: number, change: object) => {
    const entries = history.topics['audit.acme'] ?? [];
    const decoded = entries[at]?.decoded;
    if (decoded?.name !== 'audit_entry') throw new Error('no entry');
    const value = { ...decoded.value, ...change };
    const stored = history.append('audit.acme', 'audit_entry', value, { key: String(value.sequence) });
    entries.pop();
    return stored;
  };
  test('with a gap', () => expect(audited((entries) => entries.splice(3, 1))).toMatch(/invariant 9: audit.acme lacks entry 4/));
  test('with a fork', () =>
    expect(audited((entries, history) => entries.push(rewrite(history, 3, { time: 5 })))).toMatch(/invariant 9: audit.acme forks at 4/));
  test('that says something else', () =>
    expect(audited((entries, history) => entries.splice(3, 1, rewrite(history, 3, { offset: 99 })))).toMatch(/invariant 9: entry 4 of audit.acme is not what/));
  test('whose chain breaks', () =>
    expect(audited((entries, history) => entries.splice(3, 1, rewrite(history, 3, { hash: Buffer.alloc(32) })))).toMatch(/chain of audit.acme breaks at 4/));
  test('with more than happened', () =>
    expect(audited((entries, history) => entries.push(rewrite(history, 3, { sequence: 999 })))).toMatch(/invariant 9: audit.acme has entry 999/));
});
