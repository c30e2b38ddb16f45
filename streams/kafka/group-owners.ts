/** Who owns which partition: the members' own addresses, as they stand in the group's membership. */
import kafkajs, { type Admin, type Kafka } from 'kafkajs';
import { readUserData } from './assigner.ts';

const { AssignerProtocol } = kafkajs;
/** A rebalance changes owners: what was learnt is asked again after this, or at once when a member did not answer. */
const KNOWN_FOR_MS = 2_000;

export class GroupOwners {
  readonly #admin: Admin;
  readonly #group: string;
  readonly #topic: string;
  #connected: Promise<void> | undefined;
  #known: { readonly at: number; readonly addresses: Promise<ReadonlyMap<number, string>> } | undefined;

  constructor(kafka: Kafka, group: string, topic: string) {
    this.#admin = kafka.admin({ retry: { retries: 1 } });
    this.#group = group;
    this.#topic = topic;
  }

  /** undefined while the group has no member for it. @throws what the client throws when Kafka does not answer */
  async addressOf(partition: number): Promise<string | undefined> {
    const now = performance.now();
    if (!this.#known || now - this.#known.at > KNOWN_FOR_MS) this.#known = { at: now, addresses: this.#ask() };
    try {
      return (await this.#known.addresses).get(partition);
    } catch (error) {
      this.forget();
      throw error;
    }
  }
  forget(): void {
    this.#known = undefined;
  }
  async close(): Promise<void> {
    await this.#connected?.catch(() => undefined);
    await this.#admin.disconnect();
  }

  async #ask(): Promise<ReadonlyMap<number, string>> {
    this.#connected ??= this.#admin.connect();
    await this.#connected.catch((error: Error) => {
      this.#connected = undefined;
      throw error;
    });
    const { groups } = await this.#admin.describeGroups([this.#group]);
    const members = groups.flatMap(({ members: of }) => of);
    return new Map(
      members.flatMap(({ memberMetadata, memberAssignment }) => {
        const { address } = readUserData(memberMetadata);
        const partitions = AssignerProtocol.MemberAssignment.decode(memberAssignment)?.assignment[this.#topic] ?? [];
        return address === undefined ? [] : partitions.map((partition) => [partition, address] as const);
      }),
    );
  }
}
