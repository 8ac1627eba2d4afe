import { setMaxListeners } from 'node:events';
import { type Fault, faultOf } from '../../base/errors.ts';
import type { ReadContext } from '../context.ts';
import type { Measure } from '../define.ts';
import type { EventHubClient } from './azure-event-hub.ts';
import type { EventHubPlace } from './azure-event-hub-access.ts';
import { type CheckpointPlan, readCheckpoints } from './azure-event-hub-checkpoints.ts';
import { isUntouched, lagOf, type PartitionState, unprocessed } from './azure-event-hub-lag.ts';
import type { FilterPlan } from './azure-event-hub-scan.ts';

/** A trigger, ready to be read. */
export interface EventHubTrigger {
  place: EventHubPlace;
  plan: CheckpointPlan;
  threshold: number;
  activation: number;
  /** How far a checkpoint may be ahead of a partition, in events. */
  stale: number;
  /** Which events count; all of them unless given. */
  filter: FilterPlan | undefined;
}

type Context = ReadContext<EventHubClient>;

/** @throws Fault of the source or of the checkpoints' storage */
export async function readHub(trigger: EventHubTrigger, context: Context): Promise<Measure> {
  return await measure(trigger, await states(trigger.place.hub, context), context);
}

/**
 * Reads each hub once for all triggers on it.
 *
 * @returns for each trigger its reading, or the Fault of it alone
 */
export async function readHubs(
  triggers: readonly EventHubTrigger[],
  context: Context,
): Promise<(Measure | Fault)[]> {
  const hubs = new Map<string, Promise<PartitionState[]>>();
  const statesOf = (hub: string) => {
    const reading = hubs.get(hub) ?? states(hub, context);
    hubs.set(hub, reading);
    return reading;
  };
  return await Promise.all(
    triggers.map(async trigger => {
      try {
        return await measure(trigger, await statesOf(trigger.place.hub), context);
      } catch (thrown) {
        return faultOf(thrown);
      }
    }),
  );
}

async function states(hub: string, context: Context): Promise<PartitionState[]> {
  const { conn } = context;
  // All partitions are asked about at once, and each question listens for the end of its time.
  setMaxListeners(0, context.signal);
  const ids = await conn.partitions(hub, context);
  return await Promise.all(ids.map(id => conn.partition(hub, id, context)));
}

async function measure(
  trigger: EventHubTrigger,
  partitions: readonly PartitionState[],
  context: Context,
): Promise<Measure> {
  const { place, plan, threshold, activation, stale, filter } = trigger;
  // Nothing can have been processed of a partition that never had anything.
  const used = partitions.filter(state => !isUntouched(state));
  const checkpoints = await context.conn.withStorage(
    place.storage,
    storage => readCheckpoints(storage, { plan, partitions: used.map(({ id }) => id) }, context),
    context,
  );
  const counts = await Promise.all(
    used.map(async (state, index) => {
      const checkpoint = checkpoints[index];
      const count = unprocessed(state, checkpoint, stale);
      const after = checkpoint ?? state.first - 1n;
      // Numbers that began anew lead nowhere from where the checkpoint is.
      if (filter === undefined || count === 0n || after > state.last) return count;
      const { hub } = place;
      return await context.conn.scans.count(context.conn, { hub, filter, state, after }, context);
    }),
  );
  const { total, capped } = lagOf(counts, { threshold, partitions: partitions.length });
  return { value: Number(capped), active: total > BigInt(activation) };
}
