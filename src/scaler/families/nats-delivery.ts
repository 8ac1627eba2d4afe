import { Fault } from '../../base/errors.ts';
import type { ReadContext } from '../context.ts';
import type { Claim, DeadMessage, Delivery, Receipt } from '../delivery.ts';
import type { NatsAccess, NatsConnection } from './nats-access.ts';
import { type ConsumerFacts, consumerFacts, forgetConsumer } from './nats-consumer.ts';
import { putDeadLetter } from './nats-dead-letter.ts';
import { type JetStreamConsumer, nameOf } from './nats-lag.ts';
import type { NatsMessage } from './nats-wire.ts';

/** A trigger on one consumer, whose messages can be delivered. */
export interface JetStreamQueue extends JetStreamConsumer {
  access: NatsAccess;
  /** Where copies of messages that cannot be processed go; `<stream>-poison` unless given. */
  deadLetterSubject: string | undefined;
}

type Context = ReadContext<NatsConnection>;

/** A claim is extended at least this often, however long the consumer would wait. */
const lockMs = 60_000;

/** A claim brings at most this much: all of it is held in memory until it has Jobs. */
const mostAtOnce = 100;
const mostBytes = 16 * 1024 * 1024;

/** How long a server may keep a claim that it has nothing for, in milliseconds: delivery does not wait for messages. */
const waitMs = 100;
/** A server may end a claim without a word; then this much later nothing of it is on its way any more. */
const silenceMs = 1_000;

/** A pull consumer does what delivery needs; what acknowledges a message is its receipt. */
export const jetStreamDelivery: Delivery<JetStreamQueue, NatsConnection> = {
  promise: [
    'Messages are pulled from the consumer over a connection of the NATS protocol, as `natsServerEndpoint`, `username`,',
    '`password`, `token`, `credentials` and `tls` say; whoever logs in must be of `account`. It must be a pull consumer',
    'with the acknowledgement policy `explicit` and an `ack_wait` of at least 5 s; while a Job runs, the server is told',
    'that work is in progress. The message is the payload; headers and subject are not delivered. No order is promised:',
    'messages are handed out in the order of the stream at first, but Jobs run side by side. No more are claimed at once',
    'than the `max_ack_pending` of the consumer allows, those that wait for another attempt included.',
    '',
    'Each message becomes one Job: its id is its sequence in the stream with the time it was stored, and stays the same',
    'at every delivery. A message comes back where Eventide was away for longer than `ack_wait`, or where a replicated',
    'consumer lost its acknowledgement in a fail-over. One whose Job runs is found to have it already, and one whose Job has',
    'succeeded is acknowledged then, unless that Job was deleted meanwhile. The server tells nobody that a message was handed',
    'to somebody else in the meantime: where other clients pull from the same consumer, and Eventide was away for longer than',
    '`ack_wait`, both may process it. Eventide counts attempts itself, so leave `max_deliver` at -1: with a limit, a message',
    'whose last delivery failed is dead-lettered at once, and one whose last claim ended because nobody was there to extend',
    'it is left by the server in the stream.',
    '',
    'What cannot be processed is copied, with its headers and `Eventide-Id`, `Eventide-Subject`, `Eventide-Attempts` and',
    '`Eventide-Why` beside them, to `deadLetterSubject`, which a stream must take that is not the one it came from. Unless',
    'given, that is `<stream>-poison`, and a stream with this name is made where none takes it. Then the message is',
    'terminated (`+TERM`), of which the server tells in an advisory. A crash in between leaves a second copy only where the',
    'message comes back later than the `duplicate_window` of that stream (2 minutes).',
  ].join('\n'),
  lockMs,
  queueId: ({ access, accountID, stream, consumer }) =>
    `${[...access.bases].sort().join(',')}/${accountID}/${stream}/${consumer}`,
  claim,

  async extend(queue, context, receipt) {
    const { deliveryCount } = readReceipt(receipt);
    const facts = await consumerFacts(queue, context);
    await tell(queue, context, { receipt, word: '+WPI' });
    return { receipt, lockedUntil: context.now + waitOf(facts, deliveryCount) };
  },

  async acknowledge(queue, context, receipt) {
    await tell(queue, context, { receipt, word: '+ACK' });
  },

  async release(queue, context, receipt, delayMs) {
    const { deliveryCount, messageId } = readReceipt(receipt);
    const { maxDeliver } = await consumerFacts(queue, context);
    if (maxDeliver > 0 && deliveryCount >= maxDeliver) {
      // Given back, it would never be handed out again, and nobody would hear of it.
      const why = `the consumer hands no message out more than ${maxDeliver} times (max_deliver)`;
      const message = { receipt, body: undefined, messageId, attempts: deliveryCount, why };
      await jetStreamDelivery.deadLetter(queue, context, message);
      return;
    }
    const delay = Math.max(0, Math.ceil(delayMs)) * 1_000_000;
    const word = delay === 0 ? '-NAK' : `-NAK ${JSON.stringify({ delay })}`;
    await tell(queue, context, { receipt, word });
  },

  async deadLetter(queue, context, message: DeadMessage) {
    const { sequence, storedAt } = readReceipt(message.receipt);
    await putDeadLetter(queue, context, { ...message, sequence, storedAt });
    await tell(queue, context, { receipt: message.receipt, word: '+TERM' });
  },
};

async function claim(queue: JetStreamQueue, context: Context, most: number): Promise<Claim[]> {
  if (most <= 0) return [];
  const facts = await consumerFacts(queue, context);
  const batch = Math.min(most, mostAtOnce, facts.maxBatch);
  // Without `expires`, who finds the last messages taken by others would wait for the next ones to come.
  const common = { no_wait: true, expires: Math.min(waitMs, facts.maxExpiresMs) * 1_000_000 };
  const claims: Claim[] = [];
  let end: NatsMessage | undefined;
  const take = (message: NatsMessage) => {
    if (message.status === undefined) claims.push(readClaim(message, facts, context.now));
    else if (message.status !== 100) end = message;
    return end !== undefined || claims.length >= batch;
  };
  const pull = async (asked: Readonly<Record<string, unknown>>): Promise<NatsMessage | undefined> => {
    end = undefined;
    const subject = `$JS.API.CONSUMER.MSG.NEXT.${queue.stream}.${queue.consumer}`;
    const data = JSON.stringify({ ...common, ...asked });
    const answers = { take, endMs: waitMs + silenceMs, refusal: '-NAK' };
    await context.conn.client.collect({ subject, data }, answers, context);
    return end;
  };
  try {
    let ended = await pull({ batch, max_bytes: Math.min(mostBytes, facts.maxBytes) });
    // One that is larger than all of them may be comes alone.
    if (claims.length === 0 && ended !== undefined && isTooLarge(ended)) ended = await pull({ batch: 1 });
    if (claims.length > 0 || (ended !== undefined && isEmpty(ended))) return claims;
    // Of a consumer that is gone nobody answers at all.
    forgetConsumer(queue, context);
    await consumerFacts(queue, context);
    if (ended === undefined) return [];
    throw new Fault('SOURCE_FAILED', `${nameOf(queue)}: ${ended.status} ${ended.description}`);
  } catch (thrown) {
    // What was handed out is ours: to lose it would hide it for as long as the claim.
    if (claims.length > 0) return claims;
    throw thrown;
  }
}

const isTooLarge = ({ status, description }: NatsMessage) => status === 409 && /MaxBytes/i.test(description);

/** There is nothing, or as many as the consumer allows are claimed. */
const isEmpty = ({ status, description }: NatsMessage) =>
  status === 404 || status === 408 || (status === 409 && /MaxAckPending/i.test(description));

function readClaim({ reply = '', data }: NatsMessage, facts: ConsumerFacts, now: number): Claim {
  const { messageId, deliveryCount, storedAt } = readReceipt(reply);
  return {
    messageId,
    body: data,
    receipt: reply,
    deliveryCount,
    sentAt: storedAt,
    lockedUntil: now + waitOf(facts, deliveryCount),
  };
}

/** How long the server waits before it hands a message out again, in milliseconds. */
function waitOf({ ackWaitMs, backoffMs }: ConsumerFacts, deliveryCount: number): number {
  return backoffMs[Math.min(deliveryCount, backoffMs.length) - 1] ?? ackWaitMs;
}

interface ReadReceipt {
  messageId: string;
  deliveryCount: number;
  sequence: number;
  /** Epoch milliseconds. */
  storedAt: number;
}

/**
 * What a server wants to be told where is all that any process needs:
 * `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<sequence of the consumer>.<stored>.<pending>`, with domain and
 * account before the stream where there are domains.
 */
function readReceipt(receipt: Receipt): ReadReceipt {
  const words = receipt.split('.');
  const at = words.length === 9 ? 4 : 6;
  const [delivered = '', sequence = '', , stored = ''] = words.slice(at);
  if (!receipt.startsWith('$JS.ACK.') || ![delivered, sequence, stored].every(word => /^\d+$/.test(word))) {
    throw new Fault('INTERNAL', `"${receipt}" is not a receipt of a message of JetStream`);
  }
  return {
    messageId: `${sequence}-${stored}`,
    deliveryCount: Number(delivered),
    sequence: Number(sequence),
    // Nanoseconds are more than a number holds exactly.
    storedAt: Number(BigInt(stored) / 1_000_000n),
  };
}

/**
 * Tells the server what became of a message, and waits until it has heard.
 *
 * @throws Fault MESSAGE_LOST where the consumer is gone
 */
async function tell(
  queue: JetStreamQueue,
  context: Context,
  { receipt, word }: { receipt: Receipt; word: string },
): Promise<void> {
  const answer = await context.conn.client.request({ subject: receipt, data: word }, context);
  if (answer.status === undefined) return;
  forgetConsumer(queue, context);
  try {
    await consumerFacts(queue, context);
  } catch (thrown) {
    if (!(thrown instanceof Fault) || thrown.code !== 'SOURCE_NOT_FOUND') throw thrown;
    throw new Fault('MESSAGE_LOST', `the message is not ours any more: ${thrown.message}`);
  }
  throw new Fault('SOURCE_FAILED', `${nameOf(queue)} has no leader at the moment`);
}
