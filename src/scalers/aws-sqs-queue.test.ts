import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { httpServer } from '../../test/misbehaving-http.ts';
import { type MotoServer, makeUser, motoInstalled, startMoto } from '../../test/moto.ts';
import { noTokens } from '../../test/no-tokens.ts';
import {
  bind,
  faultFrom,
  mustBind,
  openContext,
  readContext,
  readOnce,
  scalerContract,
} from '../../test/scaler-contract.ts';
import { Secret } from '../base/secret.ts';
import type { AwsRole } from '../scaler/context.ts';
import scaler from './aws-sqs-queue.ts';

const keys = { awsAccessKeyID: 'AKIAEXAMPLE', awsSecretAccessKey: 'a secret key of AWS' };
const orders = { queueURL: 'orders', awsRegion: 'eu-west-1' };

describe.skipIf(!motoInstalled)('aws-sqs-queue, against a real server', () => {
  let moto: MotoServer;

  beforeAll(async () => {
    moto = await startMoto();
  });

  afterAll(() => moto[Symbol.asyncDispose]());

  const at = (params: Record<string, string>, auth: Record<string, string> = keys) =>
    mustBind(scaler, { params: { ...orders, awsEndpoint: moto.url, ...params }, auth });

  /** A queue with two messages that wait, three that were received and four that may not be received yet. */
  async function makeQueue(name: string): Promise<string> {
    const QueueUrl = await moto.makeQueue(name);
    const send = (count: number, DelaySeconds: number) =>
      moto.sqs('SendMessageBatch', {
        QueueUrl,
        Entries: Array.from({ length: count }, (_, id) => ({ Id: `${id}`, MessageBody: 'x', DelaySeconds })),
      });
    await send(5, 0);
    await send(4, 600);
    await moto.sqs('ReceiveMessage', { QueueUrl, MaxNumberOfMessages: 3, VisibilityTimeout: 600 });
    return QueueUrl;
  }

  scalerContract(scaler, {
    async serve() {
      const queueURL = `orders-${randomUUID()}`;
      let sent = 0;
      async function fill(count: number) {
        const QueueUrl = await moto.makeQueue(queueURL);
        for (sent = 0; sent < count; sent += 1) await moto.sqs('SendMessage', { QueueUrl, MessageBody: 'x' });
      }
      return {
        params: { awsEndpoint: moto.url, queueURL },
        fill,
        stop: () => moto.stop(),
        async restart() {
          await moto.restart();
          await fill(sent);
        },
        [Symbol.asyncDispose]: async () => {},
      };
    },
    params: orders,
    auth: keys,
    alsoRequired: ['awsAccessKeyID', 'awsSecretAccessKey'],
    expect: 3,
    missing: () => ({ params: { queueURL: 'nowhere' } }),
    async saying(number) {
      const counts = `"ApproximateNumberOfMessages":"${number}","ApproximateNumberOfMessagesNotVisible":"0"`;
      const server = await httpServer((_req, res) => res.end(`{"Attributes":{${counts}}}`));
      return Object.assign(server, { params: { awsEndpoint: server.url } });
    },
    cannot: { wrong: 'this server takes anybody unless told otherwise: tried below' },
    at: ({ url }) => ({ params: { awsEndpoint: url } }),
  });

  it.each([
    ['what waits and what was received', {}, 5],
    ['what waits alone', { scaleOnInFlight: 'false' }, 2],
    ['what waits and what may not be received yet', { scaleOnInFlight: 'false', scaleOnDelayed: 'true' }, 6],
    ['everything', { scaleOnDelayed: 'true' }, 9],
  ])('counts %s', async (_title, params, count) => {
    const queueURL = await makeQueue(`counted-${count}`);

    const bound = at({ queueURL, ...params });

    expect(await readOnce(bound)).toBe(count);
    expect(scaler.countsFor(bound.params as never)).toBe(
      'scaleOnInFlight' in params ? 'waiting' : 'waiting and in flight',
    );
  });

  it('does not take a queue that is missing for an empty one', async () => {
    const fault = await faultFrom(readOnce(at({ queueURL: 'nothing' })));

    expect(fault).toMatchObject({
      code: 'SOURCE_NOT_FOUND',
      message: `queue "nothing" at 127.0.0.1:${moto.port}: QueueDoesNotExist: The specified queue does not exist.`,
    });
  });

  it('reads many queues over one connection', async () => {
    for (const name of ['a', 'b']) {
      const QueueUrl = await moto.makeQueue(name);
      await moto.sqs('SendMessage', { QueueUrl, MessageBody: 'x' });
    }
    const [a, b] = ['a', 'b'].map(queueURL => at({ queueURL }));
    if (a === undefined || b === undefined) throw new Error('there are two');
    const { signal } = new AbortController();
    const conn = await a.scaler.open(a.params, openContext(signal));
    const read = ({ params }: typeof a) => a.scaler.read(params, readContext(conn, signal));

    expect(a.connectionKey).toBe(b.connectionKey);
    expect(a.readingKey).not.toBe(b.readingKey);
    expect([await read(a), await read(b)]).toEqual([1, 1]);
    await a.scaler.close(conn);
  });

  it('signs what it asks, and says who was refused what', async () => {
    await using server = await startMoto({ unsigned: 4 });
    await server.makeQueue('orders');
    const { accessKeyId, secretAccessKey } = await makeUser(server, ['GetQueueAttributes']);
    const asked = async (awsAccessKeyID: string, awsSecretAccessKey: string, queueURL = 'orders') => {
      const auth = { awsAccessKeyID, awsSecretAccessKey };
      const bound = at({ queueURL, awsEndpoint: server.url }, auth);
      return await readOnce(bound, { now: Date.now() });
    };

    expect(await asked(accessKeyId, secretAccessKey.reveal())).toBe(0);
    const fault = await faultFrom(asked(accessKeyId, 'a key that is wrong'));
    expect(fault.code).toBe('SOURCE_REFUSED');
    expect(fault.message).toContain('SignatureDoesNotMatch');
    expect(await faultFrom(asked('AKIANOBODY', secretAccessKey.reveal()))).toMatchObject({
      code: 'SOURCE_REFUSED',
      message: expect.stringContaining('InvalidClientTokenId'),
    });
  });

  it.each([
    ['the operator itself', { identityOwner: 'operator' }, {}, 'none', { region: 'eu-west-1' }],
    [
      'a role from the TriggerAuthentication',
      {},
      { awsRoleArn: 'arn:aws:iam::1:role/r' },
      'none',
      { region: 'eu-west-1', roleArn: 'arn:aws:iam::1:role/r' },
    ],
    [
      'the role of pod identity aws-eks',
      {},
      { awsRoleArn: 'arn:aws:iam::1:role/w' },
      'aws-eks',
      { region: 'eu-west-1', roleArn: 'arn:aws:iam::1:role/w' },
    ],
    ['the operator by pod identity aws', {}, {}, 'aws', { region: 'eu-west-1' }],
    [
      "the workload's role by pod identity aws",
      {},
      { awsRoleArn: 'arn:aws:iam::1:role/w' },
      'aws',
      { region: 'eu-west-1', roleArn: 'arn:aws:iam::1:role/w', webIdentity: true },
    ],
  ] as const)('asks as %s', async (_title, params, auth, provider, role) => {
    await moto.makeQueue('orders');
    const asked: AwsRole[] = [];
    const tokens = {
      ...noTokens,
      async awsCredentials(whom: AwsRole) {
        asked.push(whom);
        return { accessKeyId: 'AKIATEMP', secretAccessKey: new Secret('x'), sessionToken: new Secret('t') };
      },
    };
    const given = { params: { ...orders, awsEndpoint: moto.url, ...params }, auth };
    const bound = mustBind(scaler, given, { podIdentity: { provider } });

    await readOnce(bound, { open: { tokens } });

    expect(asked).toEqual([role]);
  });
});

describe('aws-sqs-queue', () => {
  const bindWith = (params: Record<string, string>, auth: Record<string, string> = keys, env = {}) =>
    bind(scaler, { params: { ...orders, ...params }, auth, env });

  it('assumes the role of pod identity aws with its external id', () => {
    const podIdentity = { provider: 'aws', roleArn: 'arn:r', externalID: 'me' } as const;

    const { params } = mustBind(scaler, { params: orders }, { podIdentity });

    expect(params).toMatchObject({
      access: { who: { roleArn: 'arn:r', externalId: 'me', webIdentity: true } },
    });
  });

  it.each([
    ['eu-west-1', 'https://sqs.eu-west-1.amazonaws.com'],
    ['cn-north-1', 'https://sqs.cn-north-1.amazonaws.com.cn'],
    ['us-gov-west-1', 'https://sqs.us-gov-west-1.amazonaws.com'],
    ['us-iso-east-1', 'https://sqs.us-iso-east-1.c2s.ic.gov'],
    ['us-isob-east-1', 'https://sqs.us-isob-east-1.sc2s.sgov.gov'],
    ['us-isof-south-1', 'https://sqs.us-isof-south-1.csp.hci.ic.gov'],
    ['eu-isoe-west-1', 'https://sqs.eu-isoe-west-1.cloud.adc-e.uk'],
    ['eusc-de-east-1', 'https://sqs.eusc-de-east-1.amazonaws.eu'],
  ])('asks in %s at %s', (awsRegion, url) => {
    const { params } = mustBind(scaler, { params: { ...orders, awsRegion }, auth: keys });

    expect(params).toMatchObject({ access: { url } });
  });

  it.each([
    ['a region that leads elsewhere', { awsRegion: 'evil.example.com/' }, 'is not a region'],
    ['an endpoint that is no URL', { awsEndpoint: 'localhost:4566' }, 'is not an http or https URL'],
    [
      'another owner of the identity',
      { identityOwner: 'operater' },
      '"operater" must be one of pod, operator',
    ],
    [
      'the URL of an account',
      { queueURL: 'https://sqs.eu-west-1.amazonaws.com/1234' },
      'is no URL of a queue',
    ],
  ])('refuses %s', (_title, params, problem) => {
    expect(bindWith(params)).toMatchObject({
      ok: false,
      problems: [{ problem: expect.stringContaining(problem) }],
    });
  });

  it('has KEDA’s metric name and targets', () => {
    const params = {
      queueURLFromEnv: 'QUEUE',
      awsRegion: 'eu-west-1',
      queueLength: '7',
      activationQueueLength: '3',
    };
    const env = { QUEUE: 'https://sqs.eu-west-1.amazonaws.com/1234/a.fifo' };

    const bound = mustBind(scaler, { params, auth: keys, env });

    expect(bound).toMatchObject({
      metricName: 's0-aws-sqs-a-fifo',
      target: { type: 'AverageValue', value: 7 },
      activation: 3,
    });
  });

  it.each([
    ['a count that is missing', '{"Attributes":{"ApproximateNumberOfMessages":"3"}}'],
    ['a count that is none', '{"Attributes":{"ApproximateNumberOfMessages":"many"}}'],
    ['a count below zero', '{"Attributes":{"ApproximateNumberOfMessages":"-1"}}'],
    ['no counts', '{}'],
  ])('does not take %s for zero', async (_title, body) => {
    await using server = await httpServer((_req, res) => res.end(body));
    const bound = mustBind(scaler, { params: { ...orders, awsEndpoint: server.url }, auth: keys });

    expect(await faultFrom(readOnce(bound))).toMatchObject({ code: 'SOURCE_ANSWER_INVALID' });
  });

  it('leaves SQS alone when it asks for that, and knows errors by either name', async () => {
    await using server = await httpServer((_req, res) => {
      res.writeHead(400, { 'x-amzn-query-error': 'AWS.SimpleQueueService.RequestThrottled;Sender' });
      res.end('{"message":"slowly"}');
    });
    const bound = mustBind(scaler, { params: { ...orders, awsEndpoint: server.url }, auth: keys });

    expect(await faultFrom(readOnce(bound))).toMatchObject({ code: 'SOURCE_BUSY' });
  });
});
