import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe } from 'vitest';
import type { Scaler } from '../src/scaler/define.ts';
import sqs from '../src/scalers/aws-sqs-queue.ts';
import { deliveryContract } from './delivery-contract.ts';
import { type MotoServer, motoInstalled, startMoto } from './moto.ts';

describe.skipIf(!motoInstalled).each([
  ['a standard queue', '', {}],
  ['a FIFO queue', '.fifo', { FifoQueue: 'true' }],
  ['a queue with a redrive policy', '', { redrive: 'true' }],
])('messages of %s in SQS', (_title, suffix, { redrive, ...attributes }: Record<string, string>) => {
  let moto: MotoServer;
  let name = '';
  let queue = '';
  let poison = '';

  beforeAll(async () => {
    moto = await startMoto();
  });

  afterAll(() => moto[Symbol.asyncDispose]());

  deliveryContract({
    scaler: sqs as unknown as Scaler,
    given: () => ({
      params: { queueURL: queue, awsRegion: 'eu-west-1', awsEndpoint: moto.url },
      auth: { awsAccessKeyID: 'AKIAEXAMPLE', awsSecretAccessKey: 'a secret key' },
    }),
    async empty() {
      name = `tasks-${randomUUID()}`;
      poison = redrive === undefined ? `${name}-poison${suffix}` : `dead-${name}`;
      const arn = `arn:aws:sqs:eu-west-1:123456789012:${poison}`;
      const policy = JSON.stringify({ deadLetterTargetArn: arn, maxReceiveCount: 1_000 });
      if (redrive !== undefined) await moto.makeQueue(poison);
      const all = redrive === undefined ? attributes : { RedrivePolicy: policy };
      queue = await moto.makeQueue(`${name}${suffix}`, all);
    },
    send: text =>
      moto.sqs('SendMessage', {
        QueueUrl: queue,
        MessageBody: text,
        ...(suffix === '' ? {} : { MessageGroupId: randomUUID(), MessageDeduplicationId: randomUUID() }),
      }),
    async pass(receipts) {
      for (const receipt of receipts) {
        const ReceiptHandle = receipt.split(' ')[1] ?? '';
        const input = { QueueUrl: queue, ReceiptHandle, VisibilityTimeout: 0 };
        // Of what was deleted the receipt is invalid.
        await moto.sqs('ChangeMessageVisibility', input).catch(() => undefined);
      }
    },
    left: () => moto.count(queue),
    poison: () => moto.peek(poison),
    copiesDeadLetters: suffix === '',
  });
});
