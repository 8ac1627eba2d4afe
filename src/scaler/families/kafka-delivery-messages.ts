import type { Call } from './kafka-messages.ts';
import type { Aborted } from './kafka-records.ts';

/** What a group has committed in a partition, and the text beside it. */
export interface CommittedPartition {
  topic: string;
  partition: number;
  /** -1 where nothing is committed. */
  offset: number;
  text: string | null;
  error: number;
}

type Places = ReadonlyMap<string, readonly number[]>;

/** The committed offsets of a group with the texts beside them. */
export function committedCall(
  group: string,
  places: Places,
): Call<{ error: number; partitions: CommittedPartition[] }> {
  return {
    name: 'committed offsets',
    api: 9,
    version: 3,
    flexible: false,
    write(out) {
      out.string(group).array([...places], ([topic, partitions]) => {
        out.string(topic).array(partitions, partition => out.int32(partition));
      });
    },
    read(answer) {
      answer.skip(4);
      const topics = answer.array(() => {
        const topic = answer.string() ?? '';
        return answer.array(() => ({
          topic,
          partition: answer.int32(),
          offset: answer.int64(),
          text: answer.string(),
          error: answer.int16(),
        }));
      });
      return { error: answer.int16(), partitions: topics.flat() };
    },
  };
}

/** Commits for a group that has no members; brokers refuse it for one that has. */
export function commitCall(
  group: string,
  commits: readonly { topic: string; partition: number; offset: number; text: string }[],
): Call<{ topic: string; partition: number; error: number }[]> {
  const [noGeneration, brokersRetention] = [-1, -1];
  return {
    name: 'a commit',
    api: 8,
    version: 2,
    flexible: false,
    write(out) {
      out.string(group).int32(noGeneration).string('').int64(brokersRetention);
      out.array(commits, ({ topic, partition, offset, text }) => {
        out.string(topic).array([partition], each => out.int32(each).int64(offset).string(text));
      });
    },
    read: answer =>
      answer
        .array(() => {
          const topic = answer.string() ?? '';
          return answer.array(() => ({ topic, partition: answer.int32(), error: answer.int16() }));
        })
        .flat(),
  };
}

export interface FetchPlace {
  topic: string;
  partition: number;
  offset: number;
}

export interface FetchedPartition {
  topic: string;
  partition: number;
  error: number;
  /** Nothing beyond it is committed by the transactions that are open. */
  stable: number;
  aborted: Aborted[];
  batches: Buffer;
}

/** Messages from each of these places on, as they are there now. */
export function fetchCall(
  places: readonly FetchPlace[],
  { mostBytes, mostPartitionBytes }: { mostBytes: number; mostPartitionBytes: number },
): Call<FetchedPartition[]> {
  const [noReplica, noWait, nothing, readCommitted] = [-1, 0, 0, 1];
  return {
    name: 'messages',
    api: 1,
    version: 4,
    flexible: false,
    write(out) {
      out.int32(noReplica).int32(noWait).int32(nothing).int32(mostBytes).int8(readCommitted);
      out.array(places, ({ topic, partition, offset }) => {
        out.string(topic).array([partition], each => {
          out.int32(each).int64(offset).int32(mostPartitionBytes);
        });
      });
    },
    read(answer) {
      answer.skip(4);
      const topics = answer.array(() => {
        const topic = answer.string() ?? '';
        return answer.array(() => {
          const partition = answer.int32();
          const error = answer.int16();
          answer.int64();
          const stable = answer.int64();
          const aborted = answer.array(() => ({ producerId: answer.int64(), firstOffset: answer.int64() }));
          const batches = answer.bytes() ?? Buffer.alloc(0);
          return { topic, partition, error, stable, aborted, batches };
        });
      });
      return topics.flat();
    },
  };
}

/** Where a partition begins, or ends. */
export function edgeCall(
  { topic, partition }: Omit<FetchPlace, 'offset'>,
  edge: 'earliest' | 'latest',
): Call<{ error: number; offset: number }> {
  return {
    name: 'an offset',
    api: 2,
    version: 1,
    flexible: false,
    write(out) {
      out.int32(-1).array([topic], each => {
        out.string(each).array([partition], one => out.int32(one).int64(edge === 'earliest' ? -2 : -1));
      });
    },
    read(answer) {
      const [found] = answer
        .array(() => {
          answer.string();
          return answer.array(() => {
            answer.int32();
            const error = answer.int16();
            answer.int64();
            return { error, offset: answer.int64() };
          });
        })
        .flat();
      return found ?? { error: -1, offset: -1 };
    },
  };
}

/** Sends a batch of messages, and waits until all replicas that are in sync have it. */
export function produceCall(
  { topic, partition }: Omit<FetchPlace, 'offset'>,
  batch: Buffer,
): Call<{ error: number }> {
  const [allReplicas, patienceMs] = [-1, 10_000];
  return {
    name: 'a message to be sent',
    api: 0,
    version: 3,
    flexible: false,
    write(out) {
      out.string(null).int16(allReplicas).int32(patienceMs);
      out.array([topic], each => {
        out.string(each).array([partition], one => out.int32(one).bytes(batch));
      });
    },
    read(answer) {
      const [error = -1] = answer
        .array(() => {
          answer.string();
          return answer.array(() => {
            answer.int32();
            const failed = answer.int16();
            answer.skip(16);
            return failed;
          });
        })
        .flat();
      return { error };
    },
  };
}

/** Creates a topic with one partition and as many replicas as the brokers give by default. */
export function createTopicCall(topic: string): Call<{ error: number; said: string | null }> {
  const [byDefault, patienceMs] = [-1, 10_000];
  return {
    name: 'a topic to be made',
    api: 19,
    version: 4,
    flexible: false,
    write(out) {
      out.array([topic], each =>
        out
          .string(each)
          .int32(1)
          .int16(byDefault)
          .array([], () => {})
          .array([], () => {}),
      );
      out.int32(patienceMs).bool(false);
    },
    read(answer) {
      answer.skip(4);
      const [found] = answer.array(() => {
        answer.string();
        return { error: answer.int16(), said: answer.string() };
      });
      return found ?? { error: -1, said: null };
    },
  };
}
