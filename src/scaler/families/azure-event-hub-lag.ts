/** What a hub says about one of its partitions. */
export interface PartitionState {
  id: string;
  /** Sequence numbers of the oldest and the newest event. */
  first: bigint;
  last: bigint;
  /** Nothing is left in it, whatever the numbers are; undefined where the hub does not say. */
  isEmpty?: boolean | undefined;
}

const mostInt64 = 2n ** 63n - 1n;

/** Nothing has ever been sent to it. */
export const isUntouched = ({ last }: PartitionState) => last === -1n;

/**
 * How many events wait in a partition, as KEDA counts, but for the last one that is left where nobody has begun.
 *
 * @param checkpoint the last event that was processed; undefined where there is no checkpoint
 * @param stale how far a checkpoint may be ahead, because the partition's state was read before it, in events
 */
export function unprocessed(state: PartitionState, checkpoint: bigint | undefined, stale: number): bigint {
  const { first, last, isEmpty = last !== 0n } = state;
  if (isUntouched(state)) return 0n;
  // Numbers that are equal are those of one event, and of a partition whose events are all gone.
  if (checkpoint === undefined) return first === last && isEmpty ? 0n : last - first + 1n;
  // Sequence numbers begin anew after the largest one.
  const count = last >= checkpoint ? last - checkpoint : mostInt64 - checkpoint + last;
  return count > mostInt64 - BigInt(stale) ? 0n : count;
}

/**
 * The sum, and what of it is for the autoscaler: never more than keeps one replica for each partition busy, since
 * a partition has one consumer.
 */
export function lagOf(
  counts: readonly bigint[],
  { threshold, partitions }: { threshold: number; partitions: number },
): { total: bigint; capped: bigint } {
  const sum = counts.reduce((all, each) => all + each, 0n);
  const total = sum > mostInt64 ? mostInt64 : sum;
  const most = BigInt(partitions) * BigInt(threshold);
  return { total, capped: total / BigInt(threshold) > BigInt(partitions) ? most : total };
}
