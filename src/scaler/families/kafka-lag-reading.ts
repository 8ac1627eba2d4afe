import { Fault } from '../../base/errors.ts';
import type { ReadContext } from '../context.ts';
import type { Measure } from '../define.ts';
import { normalizeMetricName } from '../metric-name.ts';
import type { KafkaClient } from './kafka.ts';
import type { KafkaAccess } from './kafka-access.ts';
import { type LagRules, type LastOffsets, lagOf } from './kafka-lag.ts';
import { type OffsetsAsk, readPositions } from './kafka-offsets.ts';

/** What a trigger of either type comes to. */
export interface KafkaTrigger {
  access: KafkaAccess;
  ask: OffsetsAsk;
  rules: LagRules;
}

/** Where each trigger's group was when it was last read; gone with the trigger. */
const lastOffsets = new WeakMap<KafkaTrigger, LastOffsets>();

/** The lag of many groups in one pass. @throws Fault of the source where none could be read */
export async function readLags(
  triggers: readonly KafkaTrigger[],
  { conn, now, signal }: ReadContext<KafkaClient>,
): Promise<(Measure | Fault)[]> {
  const asks = triggers.map(({ ask }) => ask);
  const positions = await readPositions(conn, asks, { now, signal });
  return triggers.map((trigger, index) => {
    const found = positions[index] ?? new Fault('INTERNAL', 'a group was left out of the reading');
    if (found instanceof Fault) return found;
    const last: LastOffsets = lastOffsets.get(trigger) ?? new Map();
    if (trigger.rules.excludePersistentLag) lastOffsets.set(trigger, last);
    return lagOf(found, trigger.rules, last);
  });
}

/** The lag of one. @throws Fault of the source */
export async function readLag(trigger: KafkaTrigger, context: ReadContext<KafkaClient>): Promise<Measure> {
  const [measure = Number.NaN] = await readLags([trigger], context);
  if (measure instanceof Fault) throw measure;
  return measure;
}

/** KEDA's name: of the topics, or of the group where it is all of its topics. */
export function lagMetricName({ ask: { group, topics } }: KafkaTrigger): string {
  return normalizeMetricName(topics.length === 0 ? `kafka-${group}-topics` : `kafka-${topics.join(',')}`);
}
