import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { httpServer } from '../../../test/misbehaving-http.ts';
import { type MotoServer, makeUser, motoInstalled, startMoto } from '../../../test/moto.ts';
import { faultFrom, mustBind, openContext, readContext } from '../../../test/scaler-contract.ts';
import scaler from '../../scalers/aws-sqs-queue.ts';
import type { ReadContext } from '../context.ts';
import type { Claim, DeadMessage } from '../delivery.ts';
import type { SqsClient, SqsQueue } from './aws-sqs.ts';
import { putDeadLetter } from './aws-sqs-dead-letter.ts';
import { sqsDelivery as deliver } from './aws-sqs-delivery.ts';

const { signal } = new AbortController();
const keys = { awsAccessKeyID: 'AKIAEXAMPLE', awsSecretAccessKey: 'a secret key of AWS' };
const bodyOf = (claim: Claim | undefined) => Buffer.from(claim?.body ?? []).toString('utf8');
const receiptOf = (claim: Claim | undefined) => claim?.receipt ?? '';
const dead = (claim: Claim | undefined, over: Partial<DeadMessage> = {}): DeadMessage => ({
  receipt: receiptOf(claim),
  body: claim?.body,
  messageId: claim?.messageId ?? '',
  attempts: 5,
  why: 'it failed',
  ...over,
});

const queueAt = (queueURL: string, awsEndpoint: string, auth: Record<string, string> = keys) =>
  mustBind(scaler, { params: { queueURL, awsEndpoint, awsRegion: 'eu-west-1' }, auth }).params as SqsQueue;

describe.skipIf(!motoInstalled)('delivery of SQS, against a real server', () => {
  let moto: MotoServer;
  let conn: SqsClient;
  let name: string;
  let queue: SqsQueue;

  beforeAll(async () => {
    moto = await startMoto();
  });

  afterAll(async () => {
    await conn?.[Symbol.asyncDispose]();
    await moto[Symbol.asyncDispose]();
  });

  async function makeQueue(attributes: Record<string, string> = {}, suffix = ''): Promise<void> {
    name = `q-${randomUUID()}${suffix}`;
    queue = queueAt(await moto.makeQueue(name, attributes), moto.url);
    await conn?.[Symbol.asyncDispose]();
    conn = await scaler.open(queue, openContext(signal));
  }

  beforeEach(() => makeQueue());

  const context = (): ReadContext<SqsClient> => readContext(conn, signal);
  const send = async (...texts: string[]) => {
    for (const MessageBody of texts) await moto.sqs('SendMessage', { QueueUrl: queue.queueURL, MessageBody });
  };
  const claim = (most = 10) => deliver.claim(queue, context(), most);
  const show = async (claimed: Claim | undefined) => {
    const ReceiptHandle = receiptOf(claimed).split(' ')[1];
    await moto.sqs('ChangeMessageVisibility', {
      QueueUrl: queue.queueURL,
      ReceiptHandle,
      VisibilityTimeout: 0,
    });
  };
  const left = () => moto.count(queue.queueURL);

  it.each([
    ['text with every kind of quote', '"\'<>&\\ \t\r\n'],
    ['emoji and other scripts', '🌙 sunset · 日没 · غروب'],
    ['JSON', '{"a":[1,2,{"b":null}]}'],
    ['256 KiB', 'x'.repeat(256 * 1024)],
  ])('delivers %s as it was sent', async (_title, text) => {
    await send(text);

    const [claimed] = await claim();

    expect(bodyOf(claimed) === text).toBe(true);
  });

  it('claims nothing where there is nothing, and no more than asked for', async () => {
    expect(await claim()).toEqual([]);
    await send('one', 'two');
    expect(await claim(0)).toEqual([]);
    expect(await claim(1)).toHaveLength(1);
    expect(await claim()).toHaveLength(1);
    expect(await claim()).toEqual([]);
  });

  it('claims more than SQS gives at once, each message once', async () => {
    const texts = Array.from({ length: 35 }, (_, index) => `message ${index}`);
    await send(...texts);

    const claims = [...(await claim(25)), ...(await claim(25))];

    expect(claims.map(bodyOf).sort()).toEqual(texts.sort());
    expect(new Set(claims.map(({ messageId }) => messageId)).size).toBe(35);
    expect(await scaler.read(queue, context())).toBe(35);
  });

  it('says how often a message was handed out, when it was sent and until when it is ours', async () => {
    const before = Date.now();
    await send('one');

    const [first] = await claim();
    await show(first);
    const [second] = await claim();

    expect(first).toMatchObject({ deliveryCount: 1, lockedUntil: context().now + 60_000 });
    expect(second).toMatchObject({ deliveryCount: 2, messageId: first?.messageId });
    expect(second?.receipt).not.toBe(first?.receipt);
    expect(first?.sentAt).toBeGreaterThanOrEqual(before - 1);
    expect(first?.sentAt).toBeLessThanOrEqual(Date.now() + 1);
  });

  it('holds a message for a minute from when it is extended, by any process', async () => {
    await send('one');
    const [claimed] = await claim();
    await using other = await scaler.open(queue, openContext(signal));

    const extended = await deliver.extend(queue, readContext(other, signal), receiptOf(claimed));

    expect(extended).toEqual({ receipt: claimed?.receipt, lockedUntil: context().now + 60_000 });
    expect(await claim()).toEqual([]);
  });

  it('forgets what was acknowledged, also where the first answer was lost', async () => {
    await send('one', 'two');
    const [one] = await claim(1);

    await deliver.acknowledge(queue, context(), receiptOf(one));
    await deliver.acknowledge(queue, context(), receiptOf(one));

    expect(await left()).toBe(1);
    expect(conn.received.size).toBe(0);
  });

  it('gives a message back at once or after a pause', async () => {
    await send('one', 'two');
    const claims = await claim();
    const [one, two] = ['one', 'two'].map(text => claims.find(claimed => bodyOf(claimed) === text));

    await deliver.release(queue, context(), receiptOf(one), 0);
    await deliver.release(queue, context(), receiptOf(two), 500);
    const [now, later] = [await claim(), [] as Claim[]];
    while (later.length === 0) later.push(...(await claim()));

    expect(now.map(bodyOf)).toEqual(['one']);
    expect(later.map(bodyOf)).toEqual(['two']);
  });

  it.each([
    ['a message that is gone', { code: 'ReceiptHandleIsInvalid', text: 'gone' }],
    ['a message that is visible again', { code: 'MessageNotInflight', text: 'visible' }],
    ['a claim that has expired', { code: 'InvalidParameterValue', text: 'The receipt handle has expired' }],
    [
      'a message that was held for 12 hours',
      {
        code: 'InvalidParameterValueException',
        text: 'Total VisibilityTimeout for the message is beyond the limit [43200 seconds]',
      },
    ],
  ])('knows %s to be lost', async (_title, { code, text }) => {
    await using server = await httpServer((_req, res) => {
      res.writeHead(400);
      res.end(JSON.stringify({ __type: `com.amazonaws.sqs#${code}`, message: text }));
    });
    const elsewhere = queueAt('orders', server.url);
    await using other = await scaler.open(elsewhere, openContext(signal));

    const fault = await faultFrom(deliver.extend(elsewhere, readContext(other, signal), 'id handle'));

    expect(fault.code).toBe('MESSAGE_LOST');
  });

  it('does not take other errors for a loss', async () => {
    const fault = await faultFrom(
      deliver.acknowledge(queueAt('no-such-queue', moto.url), context(), 'id handle'),
    );

    expect(fault.code).toBe('SOURCE_NOT_FOUND');
  });

  const letters = async (QueueUrl: string) => {
    const input = { QueueUrl, AttributeNames: ['All'], MessageAttributeNames: ['All'] };
    const { Messages = [] } = await moto.sqs('ReceiveMessage', { ...input, MaxNumberOfMessages: 10 });
    return Messages as {
      Body: string;
      MessageAttributes?: Record<string, unknown>;
      Attributes: Record<string, string>;
    }[];
  };

  it('copies what cannot be processed to a queue that it makes, with its attributes', async () => {
    const color = { DataType: 'String', StringValue: 'red' };
    const picture = { DataType: 'Binary', BinaryValue: Buffer.from([1, 2, 0xff]).toString('base64') };
    const attributes = { color, picture };
    const bad = { QueueUrl: queue.queueURL, MessageBody: 'bad', MessageAttributes: attributes };
    await moto.sqs('SendMessage', bad);
    const [claimed] = await claim();

    await deliver.deadLetter(queue, context(), dead(claimed));
    const [letter, ...more] = await letters(`${name}-poison`);

    expect(more).toEqual([]);
    expect(letter?.Body).toBe('bad');
    expect(letter?.MessageAttributes).toEqual({
      ...attributes,
      'eventide-id': { DataType: 'String', StringValue: claimed?.messageId },
      'eventide-attempts': { DataType: 'Number', StringValue: '5' },
      'eventide-why': { DataType: 'String', StringValue: 'it failed' },
    });
    expect(await left()).toBe(0);
    expect(conn.received.size).toBe(0);
  });

  it('copies it where the redrive policy says', async () => {
    const target = `dead-${randomUUID()}`;
    await moto.makeQueue(target);
    const deadLetterTargetArn = `arn:aws:sqs:eu-west-1:123456789012:${target}`;
    await makeQueue({ RedrivePolicy: JSON.stringify({ deadLetterTargetArn, maxReceiveCount: 100 }) });
    await send('bad');
    const [claimed] = await claim();

    await deliver.deadLetter(queue, context(), dead(claimed));

    expect((await letters(target)).map(({ Body }) => Body)).toEqual(['bad']);
    expect(await left()).toBe(0);
  });

  it('leaves its own words out where there is no room for them', async () => {
    const text = (StringValue: string) => ({ DataType: 'String', StringValue });
    const attributes = Object.fromEntries(Array.from({ length: 9 }, (_, index) => [`a${index}`, text('x')]));
    const bad = { QueueUrl: queue.queueURL, MessageBody: 'bad', MessageAttributes: attributes };
    await moto.sqs('SendMessage', bad);
    const [claimed] = await claim();

    await deliver.deadLetter(queue, context(), dead(claimed));

    expect((await letters(`${name}-poison`))[0]?.MessageAttributes).toEqual(attributes);
  });

  it('has what another process claimed come back, to copy it as a whole', async () => {
    await send('bad');
    const [claimed] = await claim();
    await using other = await scaler.open(queue, openContext(signal));
    const there = readContext(other, signal);

    const fault = await faultFrom(deliver.deadLetter(queue, there, dead(claimed, { body: undefined })));
    const [again] = await deliver.claim(queue, there, 10);
    await deliver.deadLetter(queue, there, dead(again));

    expect(fault.code).toBe('MESSAGE_LOST');
    expect(again?.messageId).toBe(claimed?.messageId);
    expect((await letters(`${name}-poison`)).map(({ Body }) => Body)).toEqual(['bad']);
    expect(await left()).toBe(0);
  });

  it('copies nothing of a message that is not ours any more', async () => {
    await send('bad');
    const [claimed] = await claim();
    await moto.sqs('PurgeQueue', { QueueUrl: queue.queueURL });

    const fault = await faultFrom(deliver.deadLetter(queue, context(), dead(claimed)));

    expect(fault.code).toBe('MESSAGE_LOST');
    expect(await moto.peek(`${name}-poison`)).toEqual([]);
  });

  describe('of a FIFO queue', () => {
    beforeEach(() => makeQueue({ FifoQueue: 'true' }, '.fifo'));

    const sendTo = (MessageGroupId: string, MessageBody: string) =>
      moto.sqs('SendMessage', {
        QueueUrl: queue.queueURL,
        MessageBody,
        MessageGroupId,
        MessageDeduplicationId: randomUUID(),
      });

    it('claims one message of a group at a time, and the next one once it is settled', async () => {
      for (const text of ['a1', 'a2', 'a3', 'b1', 'b2', 'c1']) await sendTo(text.slice(0, 1), text);

      const first = await claim();
      const none = await claim();
      await deliver.acknowledge(queue, context(), receiptOf(first[0]));
      const second = await claim();
      await deliver.release(queue, context(), receiptOf(second[0]), 600_000);

      expect(first.map(bodyOf)).toEqual(['a1', 'b1', 'c1']);
      expect(none).toEqual([]);
      expect(second.map(bodyOf)).toEqual(['a2']);
      // While it waits for another attempt, its group waits, too.
      expect(await claim()).toEqual([]);
    });

    it('copies what cannot be processed to a FIFO queue, in its group, once however often', async () => {
      await sendTo('a', 'bad');
      await sendTo('a', 'good');
      const [claimed] = await claim();
      const received = conn.received.get(claimed?.messageId ?? '') ?? { attributes: {}, group: undefined };

      // As if a process had died before it deleted the message.
      const body = Buffer.from('bad');
      await putDeadLetter(queue, context(), { ...dead(claimed), body, received });
      await deliver.deadLetter(queue, context(), dead(claimed));
      const [letter, ...more] = await letters(name.replace('.fifo', '-poison.fifo'));

      expect(letter?.Body).toBe('bad');
      expect(letter?.Attributes['MessageGroupId']).toBe('a');
      expect(letter?.Attributes['MessageDeduplicationId']).toBe(claimed?.messageId);
      expect(more).toEqual([]);
      expect((await claim()).map(bodyOf)).toEqual(['good']);
    });
  });

  it('says who may not do what', async () => {
    await using server = await startMoto({ unsigned: 4 });
    const url = await server.makeQueue('orders');
    const user = await makeUser(server, ['GetQueueAttributes', 'ReceiveMessage']);
    const auth = {
      awsAccessKeyID: user.accessKeyId,
      awsSecretAccessKey: user.secretAccessKey.reveal(),
    };
    const theirs = queueAt(url, server.url, auth);
    await using other = await scaler.open(theirs, openContext(signal));
    const there = { ...readContext(other, signal), now: Date.now() };

    const fault = await faultFrom(deliver.acknowledge(theirs, there, 'id handle'));

    expect(await deliver.claim(theirs, there, 1)).toEqual([]);
    expect(fault.code).toBe('SOURCE_REFUSED');
    expect(fault.message).toContain('sqs:DeleteMessage');
  });

  it.each([
    ['no id', { ReceiptHandle: 'r', Body: 'x', Attributes: { ApproximateReceiveCount: '1' } }],
    ['no receipt', { MessageId: 'm', Body: 'x', Attributes: { ApproximateReceiveCount: '1' } }],
    ['no text', { MessageId: 'm', ReceiptHandle: 'r', Attributes: { ApproximateReceiveCount: '1' } }],
    ['no count', { MessageId: 'm', ReceiptHandle: 'r', Body: 'x' }],
  ])('does not deliver a message with %s', async (_title, message) => {
    await using server = await httpServer((_req, res) => res.end(JSON.stringify({ Messages: [message] })));
    const elsewhere = queueAt('orders', server.url);
    await using other = await scaler.open(elsewhere, openContext(signal));

    const fault = await faultFrom(deliver.claim(elsewhere, readContext(other, signal), 1));

    expect(fault.code).toBe('SOURCE_ANSWER_INVALID');
  });
});
