import { Fault } from '../../base/errors.ts';
import type { ReadContext } from '../context.ts';
import type { Delivery, Receipt } from '../delivery.ts';
import type { EventHubClient } from './azure-event-hub.ts';
import { type EventPlace, eventId } from './azure-event-hub-delivery-events.ts';
import { keepPoison } from './azure-event-hub-delivery-poison.ts';
import { HubQueue } from './azure-event-hub-delivery-queue.ts';
import type { EventHubTrigger } from './azure-event-hub-reading.ts';
import { serviceUrl } from './azure-storage.ts';
import { windowedDelivery } from './windowed-delivery.ts';

type Context = ReadContext<EventHubClient>;

/** Nobody but us knows of a claim, so it only has to outlast the pauses between extensions. */
const lockMs = 60_000;

/** The queues of each namespace that is open, by hub, group and checkpoints. */
const queues = new WeakMap<EventHubClient, Map<string, HubQueue>>();

function queueOf(trigger: EventHubTrigger, { conn }: Context): HubQueue {
  insistOnMetadata(trigger);
  const known = queues.get(conn) ?? new Map<string, HubQueue>();
  queues.set(conn, known);
  const key = JSON.stringify([trigger.plan, serviceUrl(trigger.place.storage)]);
  const queue = known.get(key) ?? new HubQueue(conn, trigger);
  known.set(key, queue);
  queue.trigger = trigger;
  return queue;
}

/** In checkpoints of other kinds there is no room for what is done beyond them. */
function insistOnMetadata({ plan }: EventHubTrigger): void {
  if (plan.strategy === 'blobMetadata') return;
  const sentence = 'events can be delivered with checkpoints of one kind only';
  throw new Fault('NOT_SUPPORTED', `${sentence}: give checkpointStrategy: blobMetadata and a blobContainer`);
}

/**
 * Events of a hub, each as a Job. Event Hubs knows no claims: who holds what is ours to remember, and what is done is
 * in the checkpoints of the consumer group, of which we are all there is.
 *
 * They are read without an epoch: with one, we would drive away the consumers that a group has by mistake, and they us,
 * in turn. Without one it is they who keep us out, from the next claim on, and say so.
 */
export const eventHubDelivery: Delivery<EventHubTrigger, EventHubClient> = {
  promise: [
    'The consumer group must be for this ScaledJob alone, and `checkpointStrategy` must be `blobMetadata`. While consumers',
    'of the group hold a partition for themselves (EventProcessorClient, Azure Functions), Event Hubs lets us see nothing of',
    'it, and that is reported; two Eventides on one group would each run every event. The policy must allow Listen, and the',
    'container, which must exist, reading and writing blobs.',
    '',
    'Each event becomes one Job; with `filter`, each event that matches, and the others count as processed. No order is',
    'promised, within a partition either: Jobs run side by side. An event is acknowledged in the checkpoint of its',
    'partition, written as Azure’s SDKs do, with one more field, `eventide`, for what is done beyond it, and never over what',
    'somebody else wrote in the meantime. One event that takes long, or is tried again, holds up only those that are 10,000',
    'or more ahead of it in its partition. The count is from the first event that is not done.',
    '',
    'What the checkpoints say is acknowledged never runs again. A crash forgets who holds what: an event without a Job, or',
    'that waits for another attempt, is handed out again at once; one whose Job runs is not; and one whose Job has succeeded',
    'is acknowledged then, unless that Job was deleted meanwhile. Consumers of Azure’s SDKs can go on from the checkpoint;',
    'what is done beyond it they would have again. Who sets checkpoints back or deletes them has the events again, unless',
    'the Jobs they had are still there. With a hub that is made anew, delete its checkpoints: they speak of other events.',
    '',
    'Without a checkpoint a partition begins with the oldest event that it has. Events that expire before they were claimed',
    'are skipped. `KEDA_TASK_DATA` is the body; bytes and texts arrive as they were sent, other values of AMQP as JSON, and',
    'properties are not handed on. Event Hubs has no dead letters: an event that cannot be processed is kept in the',
    'container as `<namespace>/<hub>/<group>/poison/<partition>/<sequence number>-<time>`, a JSON document of its body,',
    'its properties, the number of attempts and the reason; once, whatever crashes.',
  ].join('\n'),
  ...windowedDelivery({ lockMs, queueOf, placeOf }),

  /** @throws Fault NOT_SUPPORTED for checkpoints of another kind than blobMetadata */
  queueId(trigger) {
    insistOnMetadata(trigger);
    const { access, hub } = trigger.place;
    return `sb://${access.host}/${hub}/${trigger.plan.group}`.toLowerCase();
  },

  async deadLetter(trigger, context, message) {
    const queue = queueOf(trigger, context);
    const place = placeOf(message.receipt);
    // Whoever comes again after a crash finds it kept.
    if (await queue.isDone(place, context)) return;
    const found = await queue.event(place, context);
    // In a hub that was made anew another event has its number.
    const event = found !== undefined && eventId(place, found) === message.messageId ? found : undefined;
    // Where it has expired and we do not have it either, there is nothing left to keep.
    if (event !== undefined || message.body !== undefined) {
      const { plan } = trigger;
      await context.conn.withStorage(
        trigger.place.storage,
        storage => keepPoison(storage, { plan, message, event }, context),
        context,
      );
    }
    await queue.finish(place, context);
  },
};

function placeOf(receipt: Receipt): EventPlace {
  const [, partition, sequence] = /^([^/]+)\/(\d{1,16})$/.exec(receipt) ?? [];
  if (partition !== undefined && sequence !== undefined) return { partition, sequence: Number(sequence) };
  throw new Fault('MESSAGE_LOST', `"${receipt}" is no receipt of Event Hubs`);
}
