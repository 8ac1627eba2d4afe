import { Fault } from '../../base/errors.ts';
import { WireReader, type WireWriter } from './kafka-wire.ts';

/** A request and how to read its answer. */
export interface Call<T> {
  /** For sentences, such as `metadata`. */
  readonly name: string;
  readonly api: number;
  readonly version: number;
  /** Whether headers and structures of this version end in tagged fields. */
  readonly flexible: boolean;
  write(out: WireWriter): void;
  read(answer: WireReader): T;
}

export const apis = {
  listOffsets: 2,
  metadata: 3,
  offsetFetch: 9,
  findCoordinator: 10,
  describeGroups: 15,
  saslHandshake: 17,
  apiVersions: 18,
  saslAuthenticate: 36,
  consumerGroupDescribe: 69,
} as const;

/** The versions of each request that a broker knows, by api. */
export type ApiVersions = ReadonlyMap<number, { min: number; max: number }>;

export function apiVersionsCall(): Call<{ error: number; versions: ApiVersions }> {
  return {
    name: 'versions',
    api: apis.apiVersions,
    version: 0,
    flexible: false,
    write() {},
    read(answer) {
      const error = answer.int16();
      const versions = answer.array(
        () => [answer.int16(), { min: answer.int16(), max: answer.int16() }] as const,
      );
      return { error, versions: new Map(versions) };
    },
  };
}

export function saslHandshakeCall(mechanism: string): Call<{ error: number; mechanisms: string[] }> {
  return {
    name: 'SASL handshake',
    api: apis.saslHandshake,
    version: 1,
    flexible: false,
    write: out => void out.string(mechanism),
    read: answer => ({ error: answer.int16(), mechanisms: answer.array(() => answer.string() ?? '') }),
  };
}

export interface SaslAnswer {
  error: number;
  said: string | null;
  bytes: Buffer;
  /** After this many milliseconds the broker hangs up; 0 where it never does. */
  lifetimeMs: number;
}

/** @param version 1, or 0 for a broker before 2.2, which says nothing of a lifetime */
export function saslAuthenticateCall(bytes: Uint8Array, version: 0 | 1): Call<SaslAnswer> {
  return {
    name: 'SASL authentication',
    api: apis.saslAuthenticate,
    version,
    flexible: false,
    write: out => void out.bytes(bytes),
    read: answer => ({
      error: answer.int16(),
      said: answer.string(),
      bytes: answer.bytes() ?? Buffer.alloc(0),
      lifetimeMs: version === 0 ? 0 : answer.int64(),
    }),
  };
}

/** Partitions by topic. */
export type Wanted = ReadonlyMap<string, Iterable<number>>;

/** The offsets of one topic, and the partitions that have an error instead of one. */
export interface TopicOffsets {
  /** -1 stands for none. */
  offsets: Map<number, number>;
  errors: Map<number, number>;
}

export interface GroupOffsets {
  error: number;
  topics: ReadonlyMap<string, TopicOffsets>;
}

/** A group with the partitions whose offsets are asked for; without any, all that it has committed. */
export interface GroupWanted {
  group: string;
  wanted: Wanted | null;
}

const topicsOf = (wanted: Wanted | null) =>
  wanted === null ? null : [...wanted].map(([topic, partitions]) => ({ topic, partitions: [...partitions] }));

/** The committed offsets of many groups at once, since Kafka 3.0. */
export function offsetFetchManyCall(groups: readonly GroupWanted[]): Call<Map<string, GroupOffsets>> {
  return {
    name: 'committed offsets',
    api: apis.offsetFetch,
    version: 8,
    flexible: true,
    write(out) {
      out.compactArray(groups, ({ group, wanted }) => {
        out.compactString(group);
        out.compactArray(topicsOf(wanted), ({ topic, partitions }) => {
          out.compactString(topic);
          out.compactArray(partitions, partition => out.int32(partition)).tags();
        });
        out.tags();
      });
      out.bool(false).tags();
    },
    read(answer) {
      answer.skip(4);
      const found = answer.compactArray(() => {
        const group = answer.compactString() ?? '';
        const topics = answer.compactArray(() => {
          const topic = answer.compactString() ?? '';
          const offsets = offsetsOf(answer.compactArray(() => offsetOf(answer)));
          answer.tags();
          return [topic, offsets] as const;
        });
        const error = answer.int16();
        answer.tags();
        return [group, { error, topics: new Map(topics) }] as const;
      });
      answer.tags();
      return new Map(found);
    },
  };

  function offsetOf(answer: WireReader): PartitionOffset {
    const partition = answer.int32();
    const offset = answer.int64();
    answer.int32();
    answer.compactString();
    const error = answer.int16();
    answer.tags();
    return { partition, offset, error };
  }
}

/** The committed offsets of one group. */
export function offsetFetchCall({ group, wanted }: GroupWanted): Call<Map<string, GroupOffsets>> {
  return {
    name: 'committed offsets',
    api: apis.offsetFetch,
    version: 3,
    flexible: false,
    write(out) {
      out.string(group);
      out.array(topicsOf(wanted), ({ topic, partitions }) => {
        out.string(topic).array(partitions, partition => out.int32(partition));
      });
    },
    read(answer) {
      answer.skip(4);
      const topics = answer.array(() => {
        const topic = answer.string() ?? '';
        const offsets = offsetsOf(
          answer.array(() => {
            const partition = answer.int32();
            const offset = answer.int64();
            answer.string();
            return { partition, offset, error: answer.int16() };
          }),
        );
        return [topic, offsets] as const;
      });
      return new Map([[group, { error: answer.int16(), topics: new Map(topics) }]]);
    },
  };
}

interface PartitionOffset {
  partition: number;
  offset: number;
  error: number;
}

function offsetsOf(read: readonly PartitionOffset[]): TopicOffsets {
  const offsets = new Map<number, number>();
  const errors = new Map<number, number>();
  for (const { partition, offset, error } of read) {
    if (error === 0) offsets.set(partition, offset);
    else errors.set(partition, error);
  }
  return { offsets, errors };
}

/** Where each partition ends: the offset that its next message will have. Asked of the brokers that lead them. */
export function endOffsetsCall(wanted: Wanted): Call<Map<string, TopicOffsets>> {
  const latest = -1;
  return {
    name: 'end offsets',
    api: apis.listOffsets,
    version: 1,
    flexible: false,
    write(out) {
      out.int32(-1).array(topicsOf(wanted), ({ topic, partitions }) => {
        out.string(topic).array(partitions, partition => out.int32(partition).int64(latest));
      });
    },
    read(answer) {
      const topics = answer.array(() => {
        const topic = answer.string() ?? '';
        const offsets = offsetsOf(
          answer.array(() => {
            const partition = answer.int32();
            const error = answer.int16();
            answer.int64();
            return { partition, offset: answer.int64(), error };
          }),
        );
        return [topic, offsets] as const;
      });
      return new Map(topics);
    },
  };
}

/** What the members of a group have subscribed to. */
export interface Subscriptions {
  group: string;
  error: number;
  members: number;
  topics: Set<string>;
}

/** The groups of the protocol that every client knows. */
export function describeGroupsCall(groups: readonly string[]): Call<Subscriptions[]> {
  return {
    name: 'groups',
    api: apis.describeGroups,
    version: 0,
    flexible: false,
    write: out => void out.array(groups, group => out.string(group)),
    read: answer =>
      answer.array(() => {
        const error = answer.int16();
        const group = answer.string() ?? '';
        answer.string();
        const isConsumers = answer.string() === 'consumer';
        answer.string();
        const topics = new Set<string>();
        const members = answer.array(() => {
          answer.string();
          answer.string();
          answer.string();
          const subscription = answer.bytes();
          answer.bytes();
          if (!isConsumers || subscription === null || subscription.length === 0) return;
          for (const topic of subscribed(subscription)) topics.add(topic);
        });
        return { group, error, members: members.length, topics };
      }),
  };
}

/** The topics in what a member gave its group, a format of the clients' own. */
function subscribed(bytes: Buffer): string[] {
  const subscription = new WireReader(bytes);
  try {
    subscription.int16();
    return subscription.array(() => subscription.string() ?? '');
  } catch (thrown) {
    throw new Fault('SOURCE_ANSWER_INVALID', 'a member of the group gave a subscription that is none', {
      cause: thrown,
    });
  }
}

/** The groups of the protocol that came with Kafka 4.0, which `describeGroupsCall` does not see. */
export function consumerGroupDescribeCall(groups: readonly string[]): Call<Subscriptions[]> {
  return {
    name: 'groups',
    api: apis.consumerGroupDescribe,
    version: 0,
    flexible: true,
    write: out =>
      void out
        .compactArray(groups, group => out.compactString(group))
        .bool(false)
        .tags(),
    read(answer) {
      answer.skip(4);
      const found = answer.compactArray(() => {
        const error = answer.int16();
        answer.compactString();
        const group = answer.compactString() ?? '';
        answer.compactString();
        answer.skip(8);
        answer.compactString();
        const topics = new Set<string>();
        const members = answer.compactArray(() => readMember(answer, topics)).length;
        answer.int32();
        answer.tags();
        return { group, error, members, topics };
      });
      answer.tags();
      return found;
    },
  };
}

function readMember(answer: WireReader, topics: Set<string>): void {
  for (let field = 0; field < 3; field += 1) answer.compactString();
  answer.int32();
  answer.compactString();
  answer.compactString();
  for (const topic of answer.compactArray(() => answer.compactString() ?? '')) topics.add(topic);
  answer.compactString();
  // One who subscribes by a pattern names no topic; what it was assigned is what it reads.
  readAssignment(answer, topics);
  readAssignment(answer, topics);
  answer.tags();
}

function readAssignment(answer: WireReader, topics: Set<string>): void {
  answer.compactArray(() => {
    answer.skip(16);
    topics.add(answer.compactString() ?? '');
    answer.compactArray(() => answer.int32());
    answer.tags();
  });
  answer.tags();
}
