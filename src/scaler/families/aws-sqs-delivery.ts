import { Fault } from '../../base/errors.ts';
import type { ReadContext } from '../context.ts';
import type { Claim, Delivery, Receipt } from '../delivery.ts';
import { AwsFault } from './aws-client.ts';
import { callSqs, type MessageAttributes, type SqsClient, type SqsQueue } from './aws-sqs.ts';
import { putDeadLetter } from './aws-sqs-dead-letter.ts';

type Context = ReadContext<SqsClient>;

/** Long enough to outlast half a minute without the source, short enough to hand on after a crash. */
const lockMs = 60_000;

/** The longest SQS hides a message, counted from when it was received. */
const longestMs = 43_200_000;

/** What SQS gives at once, and how much of it is brought by one claim: all of it is held in memory until it has Jobs. */
const mostAtOnce = 10;
const mostPerClaim = 100;
const mostBytesPerClaim = 16 * 1024 * 1024;
const mostAnswerBytes = 32 * 1024 * 1024;

/** More than anybody has claimed at once; beyond them the oldest ones are read once more before they are copied. */
const mostKnown = 10_000;

export const sqsDelivery: Delivery<SqsQueue, SqsClient> = {
  promise: [
    'Messages are received with a visibility timeout of a minute, whatever the queue has set, which is extended while a',
    'Job runs; the claim of an Eventide that crashed ends after it, and any other one takes the message up. SQS lets no',
    'message be held for more than 12 hours: then it is handed out again, and found to have its Job already. The message',
    'is the body; message attributes are not delivered. SQS may answer that a queue with few messages is empty; they come',
    'at the next poll. No order is promised, except in FIFO queues: messages of one group have their Jobs one after the',
    'other, the next one only after the one before it was acknowledged or dead-lettered, and while one waits for another',
    'attempt its group waits, too.',
    '',
    'Each message becomes one Job, named after its `MessageId`, which is the same at every delivery. SQS itself promises to',
    'deliver at least once: a message that comes back after it was acknowledged is found to have its Job already and is',
    'acknowledged again, unless that Job was deleted meanwhile.',
    '',
    'What cannot be processed is sent, with its attributes and `eventide-id`, `eventide-attempts` and `eventide-why` beside',
    'them where there is room, to the queue that the redrive policy names; without a policy to `<queue>-poison`',
    '(`<queue>-poison.fifo` for a FIFO queue), which is made where it is missing. Then the message is deleted: after a crash',
    'between the two a standard queue may have the copy twice. SQS counts every receive, also those after a crash: set',
    "`maxReceiveCount` higher than `maxAttempts`, or SQS moves messages there by itself before Eventide's attempts are over,",
    'and a Job that runs for such a message cannot acknowledge it any more.',
    '',
    'Needs `sqs:ReceiveMessage`, `sqs:ChangeMessageVisibility`, `sqs:DeleteMessage` and `sqs:GetQueueAttributes` for the',
    'queue, and `sqs:GetQueueUrl` and `sqs:SendMessage` (`sqs:CreateQueue` where it is missing) for that of the dead letters.',
  ].join('\n'),
  lockMs,
  queueId: ({ access, queueURL }) => `${access.url}/${queueURL}`,
  claim,

  async extend(queue, context, receipt) {
    await hide(queue, context, { receipt, forMs: lockMs });
    return { receipt, lockedUntil: context.now + lockMs };
  },

  async acknowledge(queue, context, receipt) {
    const { id, handle } = readReceipt(receipt);
    try {
      const input = { QueueUrl: queue.queueURL, ReceiptHandle: handle };
      await callSqs(queue, context, { action: 'DeleteMessage', input });
    } catch (thrown) {
      throw lostOr(thrown, id);
    }
    context.conn.received.delete(id);
  },

  async release(queue, context, receipt, delayMs) {
    await hide(queue, context, { receipt, forMs: delayMs });
    context.conn.received.delete(readReceipt(receipt).id);
  },

  async deadLetter(queue, context, message) {
    const { receipt, body } = message;
    const { id } = readReceipt(receipt);
    const received = context.conn.received.get(id);
    if (body === undefined || received === undefined) {
      // SQS reads no message by its id: it goes back, to be received once more.
      await sqsDelivery.release(queue, context, receipt, 0);
      throw new Fault('MESSAGE_LOST', `message ${id} went back, so that its text can be read`);
    }
    // Held anew before anything is copied: of a message that went back there must be no copy.
    await hide(queue, context, { receipt, forMs: lockMs });
    await putDeadLetter(queue, context, { ...message, body, received });
    await sqsDelivery.acknowledge(queue, context, receipt);
  },
};

/**
 * Receives until there are enough or an answer is empty. Of a FIFO queue one at a time: several might be of one group,
 * and only those of other groups may be worked on beside it.
 */
async function claim(queue: SqsQueue, context: Context, most: number): Promise<Claim[]> {
  const wanted = Math.min(most, mostPerClaim);
  const size = isFifo(queue) ? 1 : mostAtOnce;
  const claims: Claim[] = [];
  let bytes = 0;
  while (claims.length < wanted && bytes < mostBytesPerClaim) {
    const count = Math.min(size, wanted - claims.length);
    let received: Claim[];
    try {
      received = await receive(queue, context, count);
    } catch (thrown) {
      // What was received before is ours: to lose it would hide it for a minute. The next claim meets the fault.
      if (claims.length > 0) return claims;
      throw thrown;
    }
    if (received.length === 0) break;
    claims.push(...received);
    bytes += received.reduce((sum, { body }) => sum + body.length, 0);
  }
  return claims;
}

export const isFifo = ({ queueName }: Pick<SqsQueue, 'queueName'>) => queueName.endsWith('.fifo');

async function receive(queue: SqsQueue, context: Context, count: number): Promise<Claim[]> {
  const input = {
    QueueUrl: queue.queueURL,
    MaxNumberOfMessages: count,
    VisibilityTimeout: lockMs / 1_000,
    WaitTimeSeconds: 0,
    AttributeNames: ['ApproximateReceiveCount', 'SentTimestamp', 'MessageGroupId'],
    MessageAttributeNames: ['All'],
  };
  const call = { action: 'ReceiveMessage', input, maxBytes: mostAnswerBytes };
  const { Messages: messages = [] } = await callSqs(queue, context, call);
  if (!Array.isArray(messages)) throw strange(queue, context);
  return messages.map((message: Readonly<Record<string, unknown>>) => {
    const { MessageId: id, ReceiptHandle: handle, Body: body } = message;
    const system = (message['Attributes'] ?? {}) as Readonly<Record<string, unknown>>;
    const deliveryCount = Number(system['ApproximateReceiveCount']);
    if (!isText(id) || !isText(handle) || typeof body !== 'string' || !Number.isInteger(deliveryCount)) {
      throw strange(queue, context);
    }
    const group = system['MessageGroupId'];
    remember(context.conn, id, {
      attributes: (message['MessageAttributes'] ?? {}) as MessageAttributes,
      group: typeof group === 'string' ? group : undefined,
    });
    const sentAt = Number(system['SentTimestamp']);
    return {
      messageId: id,
      body: Buffer.from(body, 'utf8'),
      receipt: `${id} ${handle}`,
      deliveryCount,
      ...(sentAt > 0 ? { sentAt } : {}),
      lockedUntil: context.now + lockMs,
    };
  });
}

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';

function remember(
  { received }: SqsClient,
  id: string,
  message: { attributes: MessageAttributes; group: string | undefined },
): void {
  received.delete(id);
  received.set(id, message);
  const [oldest] = received.keys();
  if (received.size > mostKnown && oldest !== undefined) received.delete(oldest);
}

/** Hides a received message for so long from now on. */
async function hide(
  queue: SqsQueue,
  context: Context,
  { receipt, forMs }: { receipt: Receipt; forMs: number },
): Promise<void> {
  const { id, handle } = readReceipt(receipt);
  const seconds = Math.ceil(Math.min(Math.max(0, forMs), longestMs) / 1_000);
  const input = { QueueUrl: queue.queueURL, ReceiptHandle: handle, VisibilityTimeout: seconds };
  try {
    await callSqs(queue, context, { action: 'ChangeMessageVisibility', input });
  } catch (thrown) {
    throw lostOr(thrown, id);
  }
}

/**
 * SQS says in several ways that a receipt holds no more: the message is visible again, was received by somebody else or
 * deleted, has expired, or was held for 12 hours.
 */
function lostOr(thrown: unknown, id: string): unknown {
  if (!(thrown instanceof AwsFault)) return thrown;
  const { awsCode, message } = thrown;
  const expired = /receipt ?handle|VisibilityTimeout for the message is beyond/i.test(message);
  const lost =
    /MessageNotInflight|ReceiptHandleIsInvalid/.test(awsCode) ||
    (/^InvalidParameterValue/.test(awsCode) && expired);
  return lost ? new Fault('MESSAGE_LOST', `message ${id} is not ours any more: ${message}`) : thrown;
}

/** A receipt is the message's id and SQS's own handle: all that any process needs to settle it. */
function readReceipt(receipt: Receipt): { id: string; handle: string } {
  const [, id, handle] = /^(\S+) (\S+)$/.exec(receipt) ?? [];
  if (id !== undefined && handle !== undefined) return { id, handle };
  throw new Fault('INTERNAL', `"${receipt}" is not a receipt of a queue in SQS`);
}

const strange = ({ queueName }: SqsQueue, { conn }: Context) =>
  new Fault(
    'SOURCE_ANSWER_INVALID',
    `queue "${queueName}" at ${conn.name} handed out a message without its id, receipt or text`,
  );
