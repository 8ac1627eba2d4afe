import type { Position } from './kafka-offsets.ts';

/** How a trigger counts what is behind. */
export interface LagRules {
  lagThreshold: number;
  activationLagThreshold: number;
  offsetResetPolicy: 'latest' | 'earliest';
  allowIdleConsumers: boolean;
  excludePersistentLag: boolean;
  scaleToZeroOnInvalidOffset: boolean;
  limitToPartitionsWithLag: boolean;
  ensureEvenDistributionOfPartitions: boolean;
}

/** Where the group was at the last reading, by topic and partition. */
export type LastOffsets = Map<string, Map<number, number>>;

export interface Lag {
  /** For the autoscaler: never more than there are partitions to share it, unless idle consumers are allowed. */
  value: number;
  active: boolean;
}

/**
 * The lag of a group over its partitions, by KEDA's rules: where nothing is committed it is 1 for `latest` and all of
 * the partition for `earliest`. Unlike in KEDA, a group that is ahead of its partition, as after a loss of
 * messages, takes nothing away from the lag elsewhere.
 *
 * @param last replaced with where the group is now, for `excludePersistentLag`
 */
export function lagOf(positions: readonly Position[], rules: LagRules, last: LastOffsets): Lag {
  let total = 0;
  let withPersistent = 0;
  let partitionsWithLag = 0;
  const before = new Map(last);
  if (rules.excludePersistentLag) last.clear();
  for (const position of positions) {
    const behind = lagIn(position, rules);
    const persists = rules.excludePersistentLag && remember(position, before, last);
    const counted = persists ? 0 : behind;
    total += counted;
    withPersistent += behind;
    if (counted > 0) partitionsWithLag += 1;
  }
  const value = bounded(total, { partitions: positions.length, partitionsWithLag }, rules);
  return { value, active: withPersistent > rules.activationLagThreshold };
}

function lagIn({ committed, end }: Position, rules: LagRules): number {
  if (committed >= 0) return Math.max(0, end - committed);
  if (rules.scaleToZeroOnInvalidOffset) return 0;
  return rules.offsetResetPolicy === 'latest' ? 1 : end;
}

/** Whether the group has not moved since the last reading. */
function remember({ topic, partition, committed }: Position, before: LastOffsets, now: LastOffsets): boolean {
  if (committed < 0) return false;
  const offsets = now.get(topic) ?? new Map<number, number>();
  now.set(topic, offsets.set(partition, committed));
  return before.get(topic)?.get(partition) === committed;
}

function bounded(
  total: number,
  { partitions, partitionsWithLag }: { partitions: number; partitionsWithLag: number },
  rules: LagRules,
): number {
  const { lagThreshold, limitToPartitionsWithLag, ensureEvenDistributionOfPartitions } = rules;
  if (rules.allowIdleConsumers && !limitToPartitionsWithLag && !ensureEvenDistributionOfPartitions)
    return total;
  const wanted = ensureEvenDistributionOfPartitions
    ? evenShare(total, partitions, lagThreshold) * lagThreshold
    : total;
  const most = limitToPartitionsWithLag ? partitionsWithLag : partitions;
  return Math.floor(wanted / lagThreshold) > most ? most * lagThreshold : wanted;
}

/** The fewest consumers that keep up and have equally many partitions each. */
function evenShare(total: number, partitions: number, lagThreshold: number): number {
  for (let consumers = 1; consumers < partitions; consumers += 1) {
    if (partitions % consumers === 0 && consumers * lagThreshold >= total) return consumers;
  }
  return partitions;
}
