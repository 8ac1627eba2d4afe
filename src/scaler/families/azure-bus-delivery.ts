import { Fault } from '../../base/errors.ts';
import type { OpenContext, ReadContext } from '../context.ts';
import type { Claim, Delivery, Receipt } from '../delivery.ts';
import { AmqpNamespace } from './azure-amqp-session.ts';
import { addressOf, type BusAdmin, openBusAdmin } from './azure-bus-admin.ts';
import type { BusAccess } from './azure-bus-connection.ts';
import { BusMessages, type MessageLock } from './azure-bus-messages.ts';
import { BusPauses } from './azure-bus-pauses.ts';
import { type BusEntityName, type BusPlace, busAccess } from './azure-bus-place.ts';

/** One namespace for one identity: its administration, and its messages. */
export interface BusClient extends AsyncDisposable {
  admin: BusAdmin;
  messages: BusMessages;
  pauses: BusPauses;
}

/** Opens nothing yet. */
export function openBus(access: BusAccess, context: OpenContext): BusClient {
  const admin = openBusAdmin(access, context);
  const namespace = new AmqpNamespace(access, context);
  const messages = new BusMessages(namespace, access.host);
  const pauses = new BusPauses(messages);
  return {
    admin,
    messages,
    pauses,
    async [Symbol.asyncDispose]() {
      await pauses[Symbol.asyncDispose]();
      await Promise.all([admin[Symbol.asyncDispose](), namespace[Symbol.asyncDispose]()]);
    },
  };
}

/** A queue or subscription whose messages are delivered. */
export interface BusQueue {
  place: BusPlace;
  entity: BusEntityName;
}

type Context = ReadContext<BusClient>;

/** The period of a queue that nobody has configured; that of each message is what Service Bus says. */
const lockMs = 60_000;

/** What Service Bus takes for a reason or a description, in characters. */
const mostReason = 4096;

/** Locks messages (peek-lock) and settles each by its lock, which any connection may do. */
export const busDelivery: Delivery<BusQueue, BusClient> = {
  promise: [
    'Messages are taken over AMQP 1.0 (port 5671) as they are locked for a receiver ("peek-lock"), never more than Jobs',
    'may start, and each is completed after its Job succeeded. The policy or role must allow Listen. Every message becomes',
    'one Job; no order is promised. `KEDA_TASK_ID` is the sequence number that Service Bus gave the message with the time',
    'at which it was enqueued, so two messages with the same `MessageId` are two Jobs.',
    '',
    'A lock is renewed well before the lock duration of the queue is over, by whichever process of ours holds the Job. Where',
    'that fails for so long, Service Bus hands the message out again, and it is found to belong to the Job that runs or has',
    'succeeded. Other receivers could take it too: let nobody else receive from the queue.',
    '',
    'A failed Job releases its message after a pause, in which it stays locked; the pause ends early where the operator ends.',
    'After the last attempt the message goes to the dead-letter queue of the queue or subscription, with the reason',
    '`JobFailed`. Service Bus counts deliveries as well, and at the `MaxDeliveryCount` of the queue (10 unless configured)',
    'puts the message there itself: each failed Job and each lock that ended is one. Keep it well above `maxAttempts`.',
    '',
    'Queues that require sessions are refused by name, and expressions (`useRegex`) cannot be delivered from. Bytes and',
    'texts arrive as they were sent, other values of AMQP as JSON.',
  ].join('\n'),
  lockMs,

  /** @throws Fault NOT_SUPPORTED for an expression; PARAM_INVALID for a connection string that cannot be used */
  queueId({ place, entity }) {
    if (entity.matches === undefined)
      return `sb://${busAccess(place).host}/${addressOf(entity)}`.toLowerCase();
    throw new Fault(
      'NOT_SUPPORTED',
      `messages can be delivered from one queue only, and "${entity.name}" is an expression`,
    );
  },

  async claim({ entity }, context, most) {
    if (most <= 0) return [];
    const taken = await context.conn.messages.take(addressOf(entity), most, context);
    return taken.map(({ id, body, lock, deliveryCount, enqueuedAt, lockedUntil }): Claim => {
      const sentAt = enqueuedAt === undefined ? {} : { sentAt: enqueuedAt };
      return { messageId: id, body, receipt: receiptOf(lock), deliveryCount, lockedUntil, ...sentAt };
    });
  },

  async extend({ entity }, context, receipt) {
    const lockedUntil = await context.conn.messages.renew(addressOf(entity), lockOf(receipt), context);
    return { receipt, lockedUntil };
  },

  async acknowledge(queue, context, receipt) {
    await settle(queue, context, receipt, { status: 'completed' });
  },

  async release({ entity }, context, receipt, delayMs) {
    const { messages, pauses } = context.conn;
    const path = addressOf(entity);
    if (delayMs > 0) await pauses.start(path, lockOf(receipt), delayMs, context);
    else await messages.settle(path, lockOf(receipt), { status: 'abandoned' }, context);
  },

  async deadLetter(queue, context, { receipt, why }) {
    const description = why.slice(0, mostReason);
    await settle(queue, context, receipt, { status: 'suspended', reason: 'JobFailed', description });
  },
};

const settle = (
  { entity }: BusQueue,
  context: Context,
  receipt: Receipt,
  disposition: Parameters<BusMessages['settle']>[2],
) => context.conn.messages.settle(addressOf(entity), lockOf(receipt), disposition, context);

const receiptOf = ({ sequence, token }: MessageLock): Receipt => `${sequence}:${token}`;

function lockOf(receipt: Receipt): MessageLock {
  const [, sequence, token] =
    /^(-?\d{1,19}):([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/.exec(receipt) ?? [];
  if (sequence !== undefined && token !== undefined) return { sequence: BigInt(sequence), token };
  throw new Fault('INTERNAL', `"${receipt}" is not a receipt of Service Bus`);
}
