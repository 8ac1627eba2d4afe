import { Fault } from '../../base/errors.ts';
import type { ReadContext } from '../context.ts';
import type { Claim, DeadMessage, Delivery, Receipt } from '../delivery.ts';
import { amqpPlace, type RabbitAccess } from './rabbitmq-access.ts';
import type { Broker } from './rabbitmq-broker.ts';
import type { Management } from './rabbitmq-management.ts';
import { type Held, holdMs, lostMessage, type QueueSession } from './rabbitmq-session.ts';
import { type Properties, tableNumber, tableText } from './rabbitmq-wire.ts';

/** A queue whose messages are delivered. */
export interface RabbitQueue {
  access: RabbitAccess;
  queueName: string;
  /** Where messages go that cannot be processed. */
  deadLetter: 'queue' | 'exchange';
}

type Context = ReadContext<Broker | Management>;

/** A claim holds as long as its channel does; to extend it says no more than that we are still there. */
const lockMs = 60_000;

/** Takes messages one by one with `basic.get`, so that nothing is held that no Job is free for. */
export const rabbitDelivery: Delivery<RabbitQueue, Broker | Management> = {
  promise: [
    'Messages are taken over AMQP, so the URL must be an `amqp` or `amqps` one. Never more are taken than Jobs may',
    'start: they are fetched one by one (`basic.get`), not pushed, and each is acknowledged after its Job succeeded',
    'and the broker has heard it. No order is promised. Every message becomes one Job, with these exceptions:',
    '',
    '- The `message_id` that the publisher sets is what a message is known by. Two messages with the same id are one:',
    '  the second is acknowledged with the first, or, as long as the Job of that is there, without one of its own.',
    '- A message without an id gets one from a hash of its text and a random part, so equal messages are different',
    '  ones. When one comes back, it is recognised by the hash among those that are still open. That needs the',
    "  broker's mark `redelivered`: a broker that loses it, such as classic queues may when they crash, gets it a",
    '  second Job. So does an acknowledgement that the broker confirmed and then lost in a crash of its own.',
    '- Where Eventide crashes after an acknowledgement and before it has noted it, it waits a day for that message to',
    '  come back. An equal message without an id that is claimed in this day and goes back before it has a Job, in',
    '  another crash say, may be taken for it and be acknowledged. Equal messages that all count need ids.',
    '',
    'A claim lasts as long as the connection. When that is lost, all messages go back to the queue as soon as the broker',
    'notices; when slots are free they are taken up again, are found to belong to Jobs that run, or have succeeded, and',
    'get no second ones as long as those Jobs are there. Meanwhile any other consumer of the queue could take them too:',
    'let nobody else consume it. RabbitMQ itself takes a message back that is not acknowledged within `consumer_timeout`,',
    '30 minutes unless configured (a setting of the broker or, since 3.12, of the queue), by closing the channel: all',
    'messages of that queue go back and are taken up again, which costs nothing but a line in the logs. But a quorum',
    'queue counts every time that a message goes back, a lost connection or a restart of Eventide included, and at its',
    '`delivery-limit` (20 since RabbitMQ 4) drops or dead-letters the message, also while its Job runs. Raise',
    '`consumer_timeout` above the longest Job, and the limit above the restarts that it may see.',
    '',
    'A failed Job releases its message after a pause, in which it stays unacknowledged and holds up no other. With the',
    'connection the pause ends as well. After the last attempt the message is copied to the queue `<queue>-poison`,',
    'which is made (durable, classic) where it is missing, with the headers `x-eventide-queue`, `x-eventide-attempts` and',
    '`x-eventide-why`; once the broker has confirmed the copy the original is acknowledged, so a crash in between',
    'leaves two copies and never none. With `deadLetter: exchange` it is rejected instead, and the dead-letter exchange',
    'of the queue has it. That is not the default because RabbitMQ drops what is rejected where a queue has no such',
    'exchange, and does not say over AMQP whether it has.',
  ].join('\n'),
  lockMs,

  /** @throws Fault NOT_SUPPORTED for the management API, which cannot hand out messages */
  queueId({ access, queueName }) {
    if (access.protocol === 'amqp' && !('wrong' in access)) return `${amqpPlace(access)}/${queueName}`;
    throw new Fault(
      'NOT_SUPPORTED',
      `messages of "${queueName}" can be delivered over AMQP only: give the host as an amqp or amqps URL`,
    );
  },

  async claim({ queueName }, context, most, known = () => []) {
    if (most <= 0) return [];
    const session = await brokerOf(context).session(queueName, context.signal);
    const taken = await session.take(most, known, context.signal);
    return taken.map(({ messageId, body, receipt, deliveryCount, properties: { timestamp } }): Claim => {
      const lockedUntil = context.now + lockMs;
      const sentAt = timestamp === undefined ? {} : { sentAt: timestamp * 1000 };
      return { messageId, body, receipt, deliveryCount, lockedUntil, ...sentAt };
    });
  },

  async extend(queue, context, receipt) {
    const { session, held } = find(queue, context, receipt);
    session.keep(held, holdMs);
    return { receipt, lockedUntil: context.now + lockMs };
  },

  async acknowledge(queue, context, receipt) {
    const { session, held } = find(queue, context, receipt);
    await session.acknowledge(held, context.signal);
  },

  async release(queue, context, receipt, delayMs) {
    const { session, held } = find(queue, context, receipt);
    if (delayMs > 0) session.keep(held, delayMs);
    else session.requeue(held);
  },

  async deadLetter(queue, context, message) {
    const { session, held } = find(queue, context, message.receipt);
    if (queue.deadLetter === 'exchange') {
      await session.reject(held, context.signal);
      return;
    }
    const { body } = message;
    if (body === undefined) {
      // It comes back with its text, and then it is copied.
      session.requeue(held);
      throw lostMessage(context.conn.protocol === 'amqp' ? context.conn.name : queue.queueName);
    }
    const properties = copied(held.properties, queue.queueName, message);
    const routingKey = `${queue.queueName}-poison`;
    await brokerOf(context).publish({ routingKey, properties, body }, context.signal);
    await session.acknowledge(held, context.signal);
  },
};

function brokerOf({ conn }: Context): Broker {
  if (conn.protocol === 'amqp') return conn;
  throw new Fault('NOT_SUPPORTED', 'the management API does not hand out messages');
}

/** @throws Fault MESSAGE_LOST */
function find(
  { queueName }: RabbitQueue,
  context: Context,
  receipt: Receipt,
): { session: QueueSession; held: Held } {
  const broker = brokerOf(context);
  const session = broker.present(queueName);
  if (session === undefined) throw lostMessage(`${broker.name}, queue "${queueName}"`);
  return { session, held: session.held(receipt) };
}

/** What would make the copy vanish, go elsewhere or be refused is left out. */
function copied(properties: Properties, queueName: string, { attempts, why }: DeadMessage): Properties {
  const { expiration: _expiration, userId: _userId, headers: before, ...others } = properties;
  const headers = new Map(before);
  headers.delete('CC');
  headers.delete('BCC');
  headers.set('x-eventide-queue', tableText(queueName));
  headers.set('x-eventide-attempts', tableNumber(attempts));
  headers.set('x-eventide-why', tableText(why));
  return { ...others, headers, deliveryMode: 2 };
}
