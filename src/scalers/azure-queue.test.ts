import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AccountSASPermissions,
  AccountSASResourceTypes,
  AccountSASServices,
  generateAccountSASQueryParameters,
  QueueServiceClient,
  StorageSharedKeyCredential,
} from '@azure/storage-queue';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Azurite, azuriteAccount, startAzurite } from '../../test/azurite.ts';
import { httpServer } from '../../test/misbehaving-http.ts';
import { bind, faultFrom, mustBind, openContext, scalerContract } from '../../test/scaler-contract.ts';
import { Fault } from '../base/errors.ts';
import type { ReadContext } from '../scaler/context.ts';
import type { Claim, Delivery } from '../scaler/delivery.ts';
import type { StorageClient } from '../scaler/families/azure-storage.ts';
import scaler from './azure-queue.ts';

type Params = Parameters<typeof scaler.read>[0];
type Context = ReadContext<StorageClient>;

const deliver = scaler.deliver as Delivery<Params, StorageClient>;
const signal = new AbortController().signal;
function paramsOf(params: Record<string, string>, connection: string): Params {
  return mustBind(scaler, { params, auth: { connection } }).params as Params;
}

let azurite: Azurite;
let service: QueueServiceClient;

beforeAll(async () => {
  azurite = await startAzurite();
  service = QueueServiceClient.fromConnectionString(azurite.connectionString);
});

afterAll(() => azurite.stop());

/** A queue of its own, filled by Azure's SDK, with our connection to it. */
async function queueWith(texts: readonly string[], metadata: Record<string, string> = {}) {
  const queueName = `q-${randomUUID()}`;
  const queue = service.getQueueClient(queueName);
  await queue.create();
  for (const text of texts) await queue.sendMessage(text);
  const params = paramsOf({ queueName, ...metadata }, azurite.connectionString);
  const conn = await scaler.open(params, openContext(signal));
  const context: Context = {
    conn,
    signal,
    now: Date.now(),
    namespace: 'shop',
    cluster: { get: () => Promise.reject(new Fault('NOT_SUPPORTED', 'no cluster here')) },
  };
  return {
    queue,
    queueName,
    params,
    context,
    [Symbol.asyncDispose]: () => scaler.close(conn),
  };
}

const bodyOf = (claim: Claim | undefined) => Buffer.from(claim?.body ?? []).toString('utf8');

describe('counting', () => {
  it('counts invisible messages too, and only the visible ones where asked to', async () => {
    await using all = await queueWith(['one', 'two', 'three']);
    await all.queue.receiveMessages({ visibilityTimeout: 60 });
    const visible = paramsOf(
      { queueName: all.queueName, queueLengthStrategy: 'visibleonly' },
      azurite.connectionString,
    );

    const counts = [await scaler.read(all.params, all.context), await scaler.read(visible, all.context)];

    expect(counts).toEqual([3, 2]);
    expect([scaler.countsFor(all.params), scaler.countsFor(visible)]).toEqual([
      'waiting and in flight',
      'waiting',
    ]);
  });

  it('asks for the whole count once a peek cannot tell how many are visible', async () => {
    const texts = Array.from({ length: 40 }, (_, index) => `message ${index}`);
    await using visible = await queueWith(texts, { queueLengthStrategy: 'visibleonly' });

    const count = await scaler.read(visible.params, visible.context);

    expect(count).toBe(40);
  });

  it('gives an empty queue as zero', async () => {
    await using empty = await queueWith([]);

    expect(await scaler.read(empty.params, empty.context)).toBe(0);
  });

  it('reads with a shared access signature made by Azure’s SDK', async () => {
    await using queue = await queueWith(['one']);
    const sas = generateAccountSASQueryParameters(
      {
        expiresOn: new Date(Date.now() + 3_600_000),
        permissions: AccountSASPermissions.parse('rpu'),
        resourceTypes: AccountSASResourceTypes.parse('sco').toString(),
        services: AccountSASServices.parse('q').toString(),
      },
      new StorageSharedKeyCredential(azuriteAccount.name, azuriteAccount.key),
    );
    const endpoint = `http://127.0.0.1:${azurite.ports.queue}/${azuriteAccount.name}`;
    const params = paramsOf(
      { queueName: queue.queueName },
      `QueueEndpoint=${endpoint};SharedAccessSignature=${sas}`,
    );
    await using conn = await scaler.open(params, openContext(signal));

    const [claim] = await deliver.claim(params, { ...queue.context, conn }, 5);

    expect(await scaler.read(params, { ...queue.context, conn })).toBe(1);
    expect(bodyOf(claim)).toBe('one');
  });
});

describe('refusals', () => {
  it('says that a key is wrong without showing it', async () => {
    await using queue = await queueWith(['one']);
    const wrong = Buffer.from('quite another key').toString('base64');
    const params = paramsOf(
      { queueName: queue.queueName },
      azurite.connectionString.replace(azuriteAccount.key, wrong),
    );
    await using conn = await scaler.open(params, openContext(signal));

    const fault = await faultFrom(scaler.read(params, { ...queue.context, conn }));

    expect(fault).toMatchObject({ code: 'SOURCE_REFUSED' });
    expect(fault.message).toMatch(/AuthorizationFailure|AuthenticationFailed/);
    expect(fault.message).not.toContain(wrong);
  });

  it.each(['all', 'visibleonly'])('names the queue that is missing (%s)', async strategy => {
    await using queue = await queueWith([]);
    const params = paramsOf(
      { queueName: 'nowhere', queueLengthStrategy: strategy },
      azurite.connectionString,
    );

    const fault = await faultFrom(scaler.read(params, queue.context));

    expect(fault.code).toBe('SOURCE_NOT_FOUND');
    expect(fault.message).toContain(`/${azuriteAccount.name}/nowhere`);
    expect(fault.message).toContain('QueueNotFound');
  });

  it('says that nobody listens', async () => {
    const gone = await startAzurite();
    const params = paramsOf({ queueName: 'mail' }, gone.connectionString);
    await gone.stop();
    await using queue = await queueWith([]);
    await using conn = await scaler.open(params, openContext(signal));

    const fault = await faultFrom(scaler.read(params, { ...queue.context, conn }));

    expect(fault.code).toBe('SOURCE_UNREACHABLE');
  });

  it('refuses a queue name that would lead elsewhere', async () => {
    await using queue = await queueWith([]);
    const params = paramsOf({ queueName: '..' }, azurite.connectionString);

    expect(await faultFrom(scaler.read(params, queue.context))).toMatchObject({ code: 'PARAM_INVALID' });
  });
});

describe('delivery', () => {
  it.each([
    ['XML and quotes', `<a href="x">&amp; 'b' ]]> <!-- --></a>`],
    ['emoji and other scripts', '🌙 sunset · 日没 · غروب'],
    ['tabs', 'one\ttwo'],
    ['blanks at both ends', '  padded  '],
    ['JSON', '{"orderId":7,"note":"a & b < c"}'],
    ['what looks like a reference', '&#65; &#x41; &unknown;'],
    ['an empty text', ''],
    ['base64, which stays as it is', Buffer.from('hello').toString('base64')],
  ])('delivers %s as it was sent, and dead-letters it as such', async (_title, text) => {
    await using queue = await queueWith([text]);

    const [claim] = await deliver.claim(queue.params, queue.context, 1);
    await deliver.deadLetter(queue.params, queue.context, {
      receipt: claim?.receipt ?? '',
      body: claim?.body,
      messageId: claim?.messageId ?? '',
      attempts: 5,
      why: 'it failed',
    });

    const poison = service.getQueueClient(`${queue.queueName}-poison`);
    const { peekedMessageItems } = await poison.peekMessages();
    expect(bodyOf(claim)).toBe(text);
    expect(peekedMessageItems.map(({ messageText }) => messageText)).toEqual([text]);
    expect(await scaler.read(queue.params, queue.context)).toBe(0);
  });

  // Azure's own SDK loses line ends when it sends, and shows a carriage return as `&#xD;` when it reads.
  it('keeps line ends of both kinds', async () => {
    await using queue = await queueWith([]);
    const { conn } = queue.context;
    const path = [queue.queueName, 'messages'];
    const body = '<QueueMessage><MessageText>one&#13;&#10;two\n&#13;three\n</MessageText></QueueMessage>';
    await conn.send({ method: 'POST', path, body }, queue.context);

    const [claim] = await deliver.claim(queue.params, queue.context, 1);
    await deliver.deadLetter(queue.params, queue.context, {
      receipt: claim?.receipt ?? '',
      body: claim?.body,
      messageId: claim?.messageId ?? '',
      attempts: 5,
      why: 'it failed',
    });

    const poison = paramsOf({ queueName: `${queue.queueName}-poison` }, azurite.connectionString);
    const [poisoned] = await deliver.claim(poison, queue.context, 1);
    expect(bodyOf(claim)).toBe('one\r\ntwo\n\rthree\n');
    expect(bodyOf(poisoned)).toBe(bodyOf(claim));
  });

  it('delivers 64 KiB, of which every character is escaped on the wire', async () => {
    const text = '<'.repeat(65_536);
    await using queue = await queueWith([text]);

    const [claim] = await deliver.claim(queue.params, queue.context, 1);

    expect(bodyOf(claim)).toBe(text);
  });

  it('says who the message is, when it was sent and how often it was handed out', async () => {
    await using queue = await queueWith([]);
    const { messageId } = await queue.queue.sendMessage('one');

    const [claim] = await deliver.claim(queue.params, queue.context, 1);

    expect(claim).toMatchObject({ messageId, deliveryCount: 1 });
    expect(Math.abs((claim?.sentAt ?? 0) - queue.context.now)).toBeLessThan(60_000);
    expect(claim?.lockedUntil).toBe(queue.context.now + deliver.lockMs);
  });

  it('claims 1,000 messages, each of them once, however many ask at the same time', async () => {
    const texts = Array.from({ length: 1_000 }, (_, index) => `message ${index}`);
    await using queue = await queueWith([]);
    await Promise.all(
      Array.from({ length: 10 }, async (_, part) => {
        for (const text of texts.slice(part * 100, part * 100 + 100)) await queue.queue.sendMessage(text);
      }),
    );

    const claims = await Promise.all(
      [400, 400, 400].map(most => deliver.claim(queue.params, queue.context, most)),
    );

    expect(claims.map(each => each.length).every(count => count <= 400)).toBe(true);
    expect(claims.flat().map(bodyOf).sort()).toEqual([...texts].sort());
  });

  it('hides a claimed message from everybody else and never claims more than asked for', async () => {
    await using queue = await queueWith(['one', 'two', 'three']);

    const mine = await deliver.claim(queue.params, queue.context, 2);

    const { receivedMessageItems } = await queue.queue.receiveMessages({ numberOfMessages: 32 });
    expect(mine).toHaveLength(2);
    expect(receivedMessageItems).toHaveLength(1);
    expect(await deliver.claim(queue.params, queue.context, 5)).toEqual([]);
    expect(await deliver.claim(queue.params, queue.context, 0)).toEqual([]);
  });

  it('extends with a new receipt, which alone acknowledges, also over another connection', async () => {
    await using queue = await queueWith(['one']);
    const [claim] = await deliver.claim(queue.params, queue.context, 1);
    const old = claim?.receipt ?? '';

    const extended = await deliver.extend(queue.params, { ...queue.context, now: 1_000 }, old);

    await using later = await scaler.open(queue.params, openContext(signal));
    const fault = await faultFrom(deliver.acknowledge(queue.params, queue.context, old));
    expect(extended).toMatchObject({ lockedUntil: 1_000 + deliver.lockMs });
    expect(extended.receipt).not.toBe(old);
    expect(fault.code).toBe('MESSAGE_LOST');
    await deliver.acknowledge(queue.params, { ...queue.context, conn: later }, extended.receipt);
    expect(await scaler.read(queue.params, queue.context)).toBe(0);
  });

  it('releases at once without a delay, and hides as long as the delay says', async () => {
    await using queue = await queueWith(['one']);
    const [first] = await deliver.claim(queue.params, queue.context, 1);

    await deliver.release(queue.params, queue.context, first?.receipt ?? '', 0);
    const [second] = await deliver.claim(queue.params, queue.context, 1);
    await deliver.release(queue.params, queue.context, second?.receipt ?? '', 30_000);

    expect(second).toMatchObject({ messageId: first?.messageId, deliveryCount: 2 });
    expect(bodyOf(second)).toBe('one');
    expect(await deliver.claim(queue.params, queue.context, 1)).toEqual([]);
    expect(await scaler.read(queue.params, queue.context)).toBe(1);
  });

  it('dead-letters after a restart, when only the receipt is left', async () => {
    await using queue = await queueWith(['poisonous & bad', 'innocent']);
    const [claim] = await deliver.claim(queue.params, queue.context, 1);

    await deliver.deadLetter(queue.params, queue.context, {
      receipt: claim?.receipt ?? '',
      body: undefined,
      messageId: claim?.messageId ?? '',
      attempts: 5,
      why: 'it failed',
    });

    const { peekedMessageItems } = await service
      .getQueueClient(`${queue.queueName}-poison`)
      .peekMessages({ numberOfMessages: 32 });
    expect(peekedMessageItems.map(({ messageText }) => messageText)).toEqual(['poisonous & bad']);
    expect((await deliver.claim(queue.params, queue.context, 5)).map(bodyOf)).toEqual(['innocent']);
  });

  it('gives a message back where its text cannot be read again behind many others', async () => {
    const texts = ['first', ...Array.from({ length: 40 }, (_, index) => `other ${index}`)];
    await using queue = await queueWith(texts);
    const [claim] = await deliver.claim(queue.params, queue.context, 1);

    const work = deliver.deadLetter(queue.params, queue.context, {
      receipt: claim?.receipt ?? '',
      body: undefined,
      messageId: claim?.messageId ?? '',
      attempts: 5,
      why: 'it failed',
    });
    const outcome = await work.then(
      () => 'dead-lettered',
      (error: Fault) => error.code,
    );

    const waiting = (await deliver.claim(queue.params, queue.context, 100)).map(bodyOf);
    // The order in which a server shows what it has is its own affair; losing a message is not.
    expect(outcome === 'MESSAGE_LOST').toBe(waiting.includes('first'));
    expect(waiting).toHaveLength(outcome === 'MESSAGE_LOST' ? 41 : 40);
  });

  it.each([
    ['extended', (p: Params, c: Context, r: string) => deliver.extend(p, c, r)],
    ['acknowledged', (p: Params, c: Context, r: string) => deliver.acknowledge(p, c, r)],
    ['released', (p: Params, c: Context, r: string) => deliver.release(p, c, r, 1_000)],
  ])('says that a message is lost where one that is gone is %s', async (_title, settle) => {
    await using queue = await queueWith(['one']);
    const [claim] = await deliver.claim(queue.params, queue.context, 1);
    await deliver.acknowledge(queue.params, queue.context, claim?.receipt ?? '');

    const fault = await faultFrom(settle(queue.params, queue.context, claim?.receipt ?? ''));

    expect(fault.code).toBe('MESSAGE_LOST');
    expect(fault.message).toContain(queue.queueName);
  });

  it.each([
    ['with its text', Buffer.from('one')],
    ['without it', undefined],
  ])('copies nothing to the poison queue where the message went back (%s)', async (_title, body) => {
    await using queue = await queueWith(['one']);
    const [claim] = await deliver.claim(queue.params, queue.context, 1);
    await deliver.extend(queue.params, queue.context, claim?.receipt ?? '');

    const work = deliver.deadLetter(queue.params, queue.context, {
      receipt: claim?.receipt ?? '',
      body,
      messageId: claim?.messageId ?? '',
      attempts: 5,
      why: 'it failed',
    });

    expect(await faultFrom(work)).toMatchObject({ code: 'MESSAGE_LOST' });
    expect(await service.getQueueClient(`${queue.queueName}-poison`).exists()).toBe(false);
    expect(await scaler.read(queue.params, queue.context)).toBe(1);
  });

  it('names a queue by its address, whatever the credential', () => {
    const key = paramsOf({ queueName: 'mail' }, 'AccountName=mine;AccountKey=a2V5');
    const sas = paramsOf({ queueName: 'mail' }, 'AccountName=mine;SharedAccessSignature=sig=x');

    expect(deliver.queueId(key)).toBe('https://mine.queue.core.windows.net/mail');
    expect(deliver.queueId(sas)).toBe(deliver.queueId(key));
    expect(scaler.endpoint(sas)).not.toBe(scaler.endpoint(key));
  });

  it('finds messages and receipts again after the server was stopped and started', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'azurite-'));
    const first = await startAzurite({ dataDir: join(dataDir, 'data') });
    const client = QueueServiceClient.fromConnectionString(first.connectionString).getQueueClient('kept');
    await client.create();
    await client.sendMessage('one');
    await client.sendMessage('two');
    const params = paramsOf({ queueName: 'kept' }, first.connectionString);
    await using conn = await scaler.open(params, openContext(signal));
    await using queue = await queueWith([]);
    const context = { ...queue.context, conn };
    const [claim] = await deliver.claim(params, context, 1);

    await first.stop();
    const fault = await faultFrom(scaler.read(params, context));
    await using second = await startAzurite({ dataDir: join(dataDir, 'data'), ports: first.ports });

    expect(fault.code).toBe('SOURCE_UNREACHABLE');
    expect(second.connectionString).toBe(first.connectionString);
    expect(await scaler.read(params, context)).toBe(2);
    await deliver.acknowledge(params, context, claim?.receipt ?? '');
    expect((await deliver.claim(params, context, 5)).map(bodyOf)).toEqual(['two']);
    await second.stop();
    await rm(dataDir, { recursive: true });
  });
});

scalerContract(scaler, {
  async serve() {
    const dataDir = await mkdtemp(join(tmpdir(), 'azurite-'));
    const own = await startAzurite({ dataDir });
    const queue = QueueServiceClient.fromConnectionString(own.connectionString).getQueueClient('orders');
    await queue.create();
    return {
      auth: { connection: own.connectionString },
      async fill(count) {
        for (let index = 0; index < count; index += 1) await queue.sendMessage(`message ${index}`);
      },
      stop: () => own.stop(),
      restart: () => own.restart(),
      async [Symbol.asyncDispose]() {
        await own.stop();
        await rm(dataDir, { recursive: true });
      },
    };
  },
  params: { queueName: 'orders' },
  alsoRequired: ['connection'],
  expect: 3,
  wrong: ({ auth: { connection = '' } = {} }) => ({
    auth: { connection: connection.replace(/AccountKey=[^;]+/, 'AccountKey=d3Jvbmc=') },
  }),
  missing: () => ({ params: { queueName: 'nowhere' } }),
  async saying(number) {
    const server = await httpServer((_req, res) => {
      res.setHeader('x-ms-approximate-messages-count', number);
      res.end();
    });
    const connection = `QueueEndpoint=${server.url}/mine;AccountName=mine;AccountKey=c2VjcmV0IGtleQ==`;
    return Object.assign(server, { auth: { connection } });
  },
  at: ({ url }) => ({
    auth: { connection: `QueueEndpoint=${url}/mine;AccountName=mine;AccountKey=c2VjcmV0IGtleQ==` },
  }),
});

describe('parameters', () => {
  it.each([
    ['no account', 'azure-workload', {}, {}, '"accountName" is missing'],
    ['another identity', 'gcp', {}, { connection: 'x' }, 'pod identity gcp is not for Azure Storage'],
    ['an account that is no host name', 'azure-workload', { accountName: 'a/b' }, {}, 'host'],
    ['an unknown cloud', 'none', { cloud: 'Moon' }, { connection: 'x' }, '"Moon" is not a cloud'],
    [
      'no suffix of its own',
      'none',
      { cloud: 'Private' },
      { connection: 'x' },
      '"endpointSuffix" is missing',
    ],
  ] as const)('refuses %s (identity %s)', (_title, provider, params, auth, problem) => {
    const binding = bind(
      scaler,
      { params: { queueName: 'mail', ...params }, auth },
      { podIdentity: { provider } },
    );

    expect(binding).toMatchObject({ ok: false, problems: [{ problem: expect.stringContaining(problem) }] });
  });

  it('has KEDA’s metric name and targets', () => {
    const params = { queueName: 'a.b', queueLength: '7', activationQueueLength: '3' };

    const bound = mustBind(scaler, { params, auth: { connection: 'x' } });

    expect(bound).toMatchObject({
      metricName: 's0-azure-queue-a-b',
      target: { type: 'AverageValue', value: 7 },
      activation: 3,
    });
  });
});
