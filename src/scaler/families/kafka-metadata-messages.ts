import { apis, type Call } from './kafka-messages.ts';
import type { WireReader } from './kafka-wire.ts';

export interface Broker {
  id: number;
  host: string;
  port: number;
}

export interface TopicMetadata {
  error: number;
  /** The partitions by number, each with the broker that leads it, or with why none does. */
  partitions: ReadonlyMap<number, { leader: number; error: number }>;
}

export interface Metadata {
  brokers: Broker[];
  /** The broker that topics are made by. */
  controller: number;
  topics: ReadonlyMap<string, TopicMetadata>;
}

/** Asks for these topics and no other, and creates none. */
export function metadataCall(topics: readonly string[]): Call<Metadata> {
  return {
    name: 'metadata',
    api: apis.metadata,
    version: 4,
    flexible: false,
    write: out => void out.array(topics, topic => out.string(topic)).bool(false),
    read(answer) {
      answer.skip(4);
      const brokers = answer.array(() => {
        const broker = { id: answer.int32(), host: answer.string() ?? '', port: answer.int32() };
        answer.string();
        return broker;
      });
      answer.string();
      const controller = answer.int32();
      const topics = answer.array(() => topicOf(answer));
      return { brokers, controller, topics: new Map(topics) };
    },
  };
}

function topicOf(answer: WireReader): [string, TopicMetadata] {
  const error = answer.int16();
  const name = answer.string() ?? '';
  answer.int8();
  const partitions = answer.array(() => {
    const failed = answer.int16();
    const partition = answer.int32();
    const leader = answer.int32();
    skipNumbers(answer);
    skipNumbers(answer);
    return [partition, { leader, error: failed }] as const;
  });
  return [name, { error, partitions: new Map(partitions) }];
}

/** A topic that is made anew gets another id. */
export interface IdentifiedTopic extends TopicMetadata {
  id: string;
}

/** As `metadataCall`, and which of all topics that ever had the name it is: since Kafka 2.8. */
export function identifiedMetadataCall(
  topics: readonly string[],
): Call<Metadata & { topics: ReadonlyMap<string, IdentifiedTopic> }> {
  return {
    name: 'metadata',
    api: apis.metadata,
    version: 10,
    flexible: true,
    write: out =>
      void out
        .compactArray(topics, topic => out.raw(Buffer.alloc(idBytes)).compactString(topic).tags())
        .bool(false)
        .bool(false)
        .bool(false)
        .tags(),
    read(answer) {
      answer.skip(4);
      const brokers = answer.compactArray(() => {
        const broker = { id: answer.int32(), host: answer.compactString() ?? '', port: answer.int32() };
        answer.compactString();
        answer.tags();
        return broker;
      });
      answer.compactString();
      const controller = answer.int32();
      const topics = answer.compactArray(() => identifiedTopicOf(answer));
      answer.int32();
      answer.tags();
      return { brokers, controller, topics: new Map(topics) };
    },
  };
}

const idBytes = 16;

function identifiedTopicOf(answer: WireReader): [string, IdentifiedTopic] {
  const error = answer.int16();
  const name = answer.compactString() ?? '';
  const id = answer.slice(idBytes).toString('base64url');
  answer.int8();
  const partitions = answer.compactArray(() => {
    const failed = answer.int16();
    const partition = answer.int32();
    const leader = answer.int32();
    answer.int32();
    for (let list = 0; list < 3; list += 1) answer.compactArray(() => answer.int32());
    answer.tags();
    return [partition, { leader, error: failed }] as const;
  });
  answer.int32();
  answer.tags();
  return [name, { error, id, partitions: new Map(partitions) }];
}

/** Passes over a list of 32-bit numbers. */
const skipNumbers = (answer: WireReader) => answer.skip(Math.max(0, answer.int32()) * 4);

export interface Coordinator {
  group: string;
  broker: Broker;
  error: number;
  said: string | null;
}

/** The coordinators of many groups at once, since Kafka 3.0. */
export function findCoordinatorsCall(groups: readonly string[]): Call<Coordinator[]> {
  return {
    name: 'coordinators',
    api: apis.findCoordinator,
    version: 4,
    flexible: true,
    write: out =>
      void out
        .int8(0)
        .compactArray(groups, group => out.compactString(group))
        .tags(),
    read(answer) {
      answer.skip(4);
      const found = answer.compactArray(() => {
        const group = answer.compactString() ?? '';
        const broker = { id: answer.int32(), host: answer.compactString() ?? '', port: answer.int32() };
        const coordinator = { group, broker, error: answer.int16(), said: answer.compactString() };
        answer.tags();
        return coordinator;
      });
      answer.tags();
      return found;
    },
  };
}

/** The coordinator of one group. */
export function findCoordinatorCall(group: string): Call<Coordinator[]> {
  return {
    name: 'coordinator',
    api: apis.findCoordinator,
    version: 1,
    flexible: false,
    write: out => void out.string(group).int8(0),
    read(answer) {
      answer.skip(4);
      const error = answer.int16();
      const said = answer.string();
      const broker = { id: answer.int32(), host: answer.string() ?? '', port: answer.int32() };
      return [{ group, broker, error, said }];
    },
  };
}
