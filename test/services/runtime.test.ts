/** Which partitions a runtime opens, keeps and closes, with a group that the test plays. */
import { expect, test } from 'vitest';
import { EvenkeelError } from '#schemas/errors.ts';
import type { Ingress } from '#services/runtime/ingress.ts';
import type { SupportTask } from '#services/runtime/journal.ts';
import { Runtime, type RuntimeParts } from '#services/runtime/runtime.ts';

class Group {
  /** What the group says is ours; heartbeats fail while it is undefined. */
  ours: readonly number[] | undefined = [];
  readonly resumed: number[] = [];
  readonly member: RuntimeParts['member'] = {
    owned: async (partition) => this.ours?.includes(partition) ?? false,
    pause: () => undefined,
    resume: (partition) => void this.resumed.push(partition),
    seek: () => undefined,
  };
}

function runtimeOf(group: Group) {
  const opened: number[] = [];
  const closed: number[] = [];
  const failures: Error[] = [];
  const lose = new Map<number, (error: Error) => void>();
  const runtime = new Runtime({
    member: group.member,
    async open(partition) {
      opened.push(partition);
      const lost = new Promise<Error>((resolve) => lose.set(partition, resolve));
      const task = { lost, full: false, position: () => 0, close: async () => void closed.push(partition) } as unknown as SupportTask;
      return { task, logStarts: {} };
    },
    ingress: {} as Ingress,
    warn: () => undefined,
    fail: (error) => failures.push(error),
  });
  const assign = (partitions: readonly number[]) => {
    group.ours = partitions;
    runtime.assigned(partitions);
  };
  return { runtime, opened, closed, failures, lose, assign };
}
const until = async (done: () => boolean) => {
  for (let tries = 0; tries < 400 && !done(); tries++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(done()).toBe(true);
};
const fenced = new EvenkeelError('fenced', 'partition 1 belongs to another');

test('what is kept through a rebalance is neither closed nor opened again, and goes on', async () => {
  const group = new Group();
  const { runtime, opened, closed, assign } = runtimeOf(group);
  assign([0, 1]);
  await until(() => runtime.waitingFor.length === 0);
  runtime.revoked([1]);
  assign([0, 2]);
  await until(() => runtime.waitingFor.length === 0);
  expect([opened, closed]).toEqual([[0, 1, 2], [1]]);
  expect(group.resumed.filter((partition) => partition === 0).length).toBe(2);
});

test('a partition that comes back is opened after its last closing has ended', async () => {
  const group = new Group();
  const { runtime, opened, closed, assign } = runtimeOf(group);
  assign([1]);
  runtime.revoked([1]);
  assign([1]);
  expect(runtime.waitingFor).toEqual(['partition 1 to open']);
  await until(() => runtime.waitingFor.length === 0);
  expect([opened, closed]).toEqual([[1, 1], [1]]);
});

test('fenced while all brokers were away: no rebalance follows, so a heartbeat opens it again, and it is not ready until then', async () => {
  const group = new Group();
  const { runtime, opened, closed, lose, assign } = runtimeOf(group);
  assign([0, 1]);
  await until(() => runtime.waitingFor.length === 0);
  group.ours = undefined;
  lose.get(1)?.(fenced);
  await until(() => closed.length === 1);
  expect(runtime.waitingFor).toEqual(['partition 1 to open']);
  group.ours = [0, 1];
  await until(() => runtime.waitingFor.length === 0);
  expect(opened).toEqual([0, 1, 1]);
});

test('fenced by another owner: it is left to it', async () => {
  const group = new Group();
  const { runtime, opened, failures, lose, assign } = runtimeOf(group);
  assign([0, 1]);
  await until(() => runtime.waitingFor.length === 0);
  group.ours = undefined;
  lose.get(1)?.(fenced);
  await until(() => runtime.waitingFor.length === 1);
  runtime.revoked([1]);
  assign([0]);
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(runtime.waitingFor).toEqual([]);
  expect([opened, failures]).toEqual([[0, 1], []]);
});

test('what is not a fence is not for this process to mend', async () => {
  const group = new Group();
  const { runtime, failures, lose, assign } = runtimeOf(group);
  assign([0]);
  await until(() => runtime.waitingFor.length === 0);
  lose.get(0)?.(new EvenkeelError('fold_failed', 'offset 7'));
  await until(() => failures.length === 1);
  expect(failures[0]).toMatchObject({ code: 'fold_failed' });
});
