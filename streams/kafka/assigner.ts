/**
 * Partition p of every topic goes to the same member (co-partitioning), evenly, and stays where it is when it can (sticky): what a member
 * owns now travels in its user data, with the address at which its own kind may ask it.
 */
import kafkajs, { type PartitionAssigner } from 'kafkajs';

const { AssignerProtocol } = kafkajs;
const NAME = 'evenkeel-co-partitioned-sticky';

/** Pure: who owns what next. `owned` may name a partition twice; the first member in order of id keeps it. */
export function assign(members: ReadonlyMap<string, readonly number[]>, partitions: number): ReadonlyMap<string, readonly number[]> {
  const ids = [...members.keys()].sort();
  const least = Math.floor(partitions / ids.length);
  let extra = partitions % ids.length;
  const next = new Map<string, number[]>(ids.map((id) => [id, []]));
  const free = new Set(Array.from({ length: partitions }, (_, partition) => partition));
  for (const id of ids) {
    for (const partition of members.get(id) ?? []) {
      const mine = next.get(id) as number[];
      if (!free.has(partition) || mine.length > least || (mine.length === least && extra === 0)) continue;
      if (mine.length === least) extra--;
      free.delete(partition);
      mine.push(partition);
    }
  }
  for (const partition of free) {
    const [id] = [...next].reduce((a, b) => (b[1].length < a[1].length ? b : a));
    next.get(id)?.push(partition);
  }
  return new Map([...next].map(([id, of]) => [id, [...of].sort((a, b) => a - b)]));
}

type UserData = { readonly owned: readonly number[]; readonly address?: string };

export function readUserData(memberMetadata: Buffer): UserData {
  const userData = AssignerProtocol.MemberMetadata.decode(memberMetadata)?.userData;
  if (!userData?.length) return { owned: [] };
  // A member of an earlier release sends the list alone.
  const data = JSON.parse(userData.toString()) as UserData | readonly number[];
  return 'owned' in data ? data : { owned: data };
}

export function coPartitioned(owned: () => readonly number[], address?: string): PartitionAssigner {
  return ({ cluster }) => ({
    name: NAME,
    version: 1,
    async assign({ members, topics }) {
      await cluster.addMultipleTargetTopics?.(topics);
      const counts = topics.map((topic) => cluster.findTopicPartitionMetadata(topic).length);
      const by = new Map(members.map(({ memberId, memberMetadata }) => [memberId, readUserData(memberMetadata).owned] as const));
      return [...assign(by, Math.min(...counts))].map(([memberId, partitions]) => ({
        memberId,
        memberAssignment: AssignerProtocol.MemberAssignment.encode({
          version: 1,
          assignment: Object.fromEntries(topics.map((topic) => [topic, [...partitions]])),
          userData: Buffer.alloc(0),
        }),
      }));
    },
    protocol({ topics }) {
      const data: UserData = { owned: owned(), ...(address === undefined ? {} : { address }) };
      return { name: NAME, metadata: AssignerProtocol.MemberMetadata.encode({ version: 1, topics, userData: Buffer.from(JSON.stringify(data)) }) };
    },
  });
}
