import { Fault } from '../../base/errors.ts';
import type { ReadContext } from '../context.ts';
import type { DeadMessage } from '../delivery.ts';
import { callSqs, type MessageAttributes, type Received, type SqsClient, type SqsQueue } from './aws-sqs.ts';

type Context = ReadContext<SqsClient>;

interface Dead extends DeadMessage {
  body: Uint8Array;
  received: Received;
}

/** The longest that SQS keeps messages: somebody has to find the time to look at them. */
const fourteenDays = String(14 * 86_400);

/** What SQS allows of attributes, and what every queue takes of a message with them. */
const mostAttributes = 10;
const mostBytes = 256 * 1024;

/** Sends a copy of a message to where those that cannot be processed go. @throws Fault of the source */
export async function putDeadLetter(queue: SqsQueue, context: Context, dead: Dead): Promise<void> {
  const { body, messageId, received } = dead;
  const target = await deadLetterQueue(queue, context);
  const fifo = target.queueName.endsWith('.fifo');
  const input = {
    QueueUrl: target.queueURL,
    MessageBody: Buffer.from(body).toString('utf8'),
    MessageAttributes: attributesOf(dead),
    // Tried again within five minutes, it is still one copy.
    ...(fifo ? { MessageGroupId: received.group ?? messageId, MessageDeduplicationId: messageId } : {}),
  };
  await callSqs(target, context, { action: 'SendMessage', input });
}

function attributesOf({ body, received, messageId, attempts, why }: Dead): MessageAttributes {
  const { attributes } = received;
  const text = (StringValue: string) => ({ DataType: 'String', StringValue });
  const ours = {
    'eventide-id': text(messageId),
    'eventide-attempts': { DataType: 'Number', StringValue: String(attempts) },
    'eventide-why': text(why),
  };
  const all = { ...attributes, ...ours };
  const fits =
    Object.keys(all).length <= mostAttributes &&
    body.length + Buffer.byteLength(JSON.stringify(all)) <= mostBytes;
  return fits ? all : attributes;
}

type Target = Pick<SqsQueue, 'queueName' | 'queueURL'>;

/** The queue that the redrive policy names, or one beside the queue, which is made where it is missing. */
async function deadLetterQueue(queue: SqsQueue, context: Context): Promise<Target> {
  const arn = await redriveTarget(queue, context);
  if (arn !== undefined) {
    const [account, queueName] = arn.split(':').slice(-2);
    if (!account || !queueName) {
      const message = `the redrive policy of queue "${queue.queueName}" names "${arn}", which is no queue`;
      throw new Fault('SOURCE_ANSWER_INVALID', message);
    }
    return await urlOf(queueName, context, { QueueOwnerAWSAccountId: account });
  }
  const fifo = queue.queueName.endsWith('.fifo');
  const queueName = `${queue.queueName.replace(/\.fifo$/, '')}-poison${fifo ? '.fifo' : ''}`;
  try {
    return await urlOf(queueName, context);
  } catch (thrown) {
    if (!(thrown instanceof Fault) || thrown.code !== 'SOURCE_NOT_FOUND') throw thrown;
  }
  const attributes = { MessageRetentionPeriod: fourteenDays, ...(fifo ? { FifoQueue: 'true' } : {}) };
  const input = { QueueName: queueName, Attributes: attributes };
  const made = await callSqs({ queueName }, context, { action: 'CreateQueue', input });
  return targetOf(queueName, made);
}

async function redriveTarget(queue: SqsQueue, context: Context): Promise<string | undefined> {
  const input = { QueueUrl: queue.queueURL, AttributeNames: ['RedrivePolicy'] };
  const answer = await callSqs(queue, context, { action: 'GetQueueAttributes', input });
  const policy = (answer['Attributes'] as Readonly<Record<string, unknown>> | undefined)?.['RedrivePolicy'];
  if (policy === undefined) return undefined;
  try {
    const { deadLetterTargetArn } = JSON.parse(String(policy)) as { deadLetterTargetArn?: unknown };
    if (typeof deadLetterTargetArn === 'string') return deadLetterTargetArn;
  } catch {
    // What it is instead is said below.
  }
  const message = `the redrive policy of queue "${queue.queueName}" cannot be read`;
  throw new Fault('SOURCE_ANSWER_INVALID', message);
}

async function urlOf(
  queueName: string,
  context: Context,
  owner: Readonly<Record<string, string>> = {},
): Promise<Target> {
  const input = { QueueName: queueName, ...owner };
  return targetOf(queueName, await callSqs({ queueName }, context, { action: 'GetQueueUrl', input }));
}

function targetOf(queueName: string, { QueueUrl: queueURL }: Readonly<Record<string, unknown>>): Target {
  if (typeof queueURL === 'string') return { queueName, queueURL };
  throw new Fault('SOURCE_ANSWER_INVALID', `SQS gave no URL for queue "${queueName}"`);
}
