import { randomUUID } from 'node:crypto';
import {
  AccountSASPermissions,
  AccountSASResourceTypes,
  AccountSASServices,
  BlobServiceClient,
  type ContainerClient,
  generateAccountSASQueryParameters,
  StorageSharedKeyCredential,
} from '@azure/storage-blob';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Azurite, azuriteAccount, startAzurite } from '../../test/azurite.ts';
import { authority, serverCertificate, serverKey } from '../../test/certificates.ts';
import { type EventHubs, eventHubsKey, startEventHubs } from '../../test/event-hubs.ts';
import { noTokens } from '../../test/no-tokens.ts';
import {
  bind,
  faultFrom,
  measureOnce,
  mustBind,
  openContext,
  readContext,
  readOnce,
  scalerContract,
  until,
} from '../../test/scaler-contract.ts';
import { deadline } from '../base/deadline.ts';
import { Secret } from '../base/secret.ts';
import type { AwsCredentials } from '../base/sigv4.ts';
import type { EventHubTrigger } from '../scaler/families/azure-event-hub-reading.ts';
import scaler from './azure-eventhub.ts';

let azurite: Azurite;
let hubs: EventHubs;
let blobs: BlobServiceClient;
const signal = new AbortController().signal;

beforeAll(async () => {
  azurite = await startAzurite();
  hubs = await startEventHubs();
  blobs = BlobServiceClient.fromConnectionString(azurite.connectionString);
});

afterAll(async () => {
  await hubs.stop();
  await azurite.stop();
});

const auth = (connection = hubs.connectionString) => ({
  connection,
  storageConnection: azurite.connectionString,
});

const triggerOf = (params: Record<string, string>, connection?: string) =>
  mustBind(scaler, { params, auth: auth(connection) });

async function containerOf(name = `c-${randomUUID()}`): Promise<ContainerClient> {
  const container = blobs.getContainerClient(name);
  await container.createIfNotExists();
  return container;
}

const put = (container: ContainerClient, name: string, text: string, metadata: Record<string, string> = {}) =>
  container.getBlockBlobClient(name).upload(text, Buffer.byteLength(text), { metadata });

/** A hub of its own whose partitions hold these events. */
function hubWith(...spans: [first: bigint, last: bigint][]): string {
  const hub = `h-${randomUUID()}`;
  hubs.create(hub, spans.length);
  for (const [partition, [first, last]] of spans.entries()) hubs.span(hub, partition, first, last);
  return hub;
}

describe('counting by checkpoints', () => {
  const place = () => `127.0.0.1:${hubs.port}`;
  it.each([
    [
      'of old SDKs',
      '',
      (hub: string) => ['workers/0', `{"PartitionId":"0","SequenceNumber":93}${hub && ''}`, {}],
    ],
    ['of an old SDK for Python', '', () => ['workers/0', '{"partition_id":"0","sequence_number":93}', {}]],
    [
      'of today’s SDKs',
      'blobMetadata',
      (hub: string) => [`${place()}/${hub}/workers/checkpoint/0`, '', { sequencenumber: '93', offset: '1' }],
    ],
    ['of the SDK for Go', 'goSdk', () => ['0', '{"partitionId":"0","checkpoint":{"sequenceNumber":93}}', {}]],
    [
      'of Dapr',
      'dapr',
      (hub: string) => [`dapr-${hub}-Workers-0`, '{"checkpoint":{"sequenceNumber":93}}', {}],
    ],
    ['of a strategy that nobody knows', 'other', () => ['workers/0', '{"sequencenumber":93}', {}]],
  ] as [string, string, (hub: string) => [string, string, Record<string, string>]][])(
    'reads those %s',
    async (_title, checkpointStrategy, blob) => {
      const hub = hubWith([10n, 100n]);
      const container = await containerOf();
      const consumerGroup = /blobMetadata|dapr/.test(checkpointStrategy) ? 'Workers' : 'workers';
      await put(container, ...blob(hub));

      const value = await readOnce(
        triggerOf({
          eventHubName: hub,
          blobContainer: container.containerName,
          checkpointStrategy,
          consumerGroup,
        }),
      );

      expect(value).toBe(7);
    },
  );

  it.each([
    ['named', { checkpointStrategy: 'azureFunction', blobContainer: 'of-no-use' }],
    ['meant, without a container', {}],
  ])('reads those of Azure Functions, where they are %s', async (_title, params) => {
    const hub = hubWith([10n, 100n], [0n, 4n]);
    const container = await containerOf('azure-webjobs-eventhub');
    await put(container, `${place()}/${hub}/$Default/0`, '{"SequenceNumber":93,"Offset":"1"}');
    await put(container, `${place()}/${hub}/$Default/1`, '{"SequenceNumber":1}');

    expect(await readOnce(triggerOf({ eventHubName: hub, ...params }))).toBe(10);
  });

  it.each([
    ['in lower case, as SDKs write them', (name: string) => name.toLowerCase()],
    ['as the manifest writes them', (name: string) => name],
  ])('finds the checkpoints of a hub with capitals %s', async (_title, spelling) => {
    const hub = `Orders-${randomUUID()}`;
    hubs.create(hub);
    hubs.span(hub, 0, 10n, 100n);
    const container = await containerOf();
    await put(container, spelling(`${place()}/${hub}/$default/checkpoint/0`), '', { sequencenumber: '93' });
    const params = { blobContainer: container.containerName, checkpointStrategy: 'blobMetadata' };

    expect(await readOnce(triggerOf({ eventHubName: hub, ...params }))).toBe(7);
  });

  it.each([
    ['lists the checkpoints of many partitions at once', 'l'],
    ['asks for them one by one where it may not list them', 'r'],
  ])('%s', async (_title, permission) => {
    const hub = hubWith(...Array.from({ length: 6 }, (): [bigint, bigint] => [0n, 9n]));
    const container = await containerOf();
    for (const id of ['0', '1', '2', '5']) {
      const name = `${place()}/${hub}/$default/checkpoint/${id}`;
      await put(container, name, '', { sequencenumber: '7', offset: '<&>' });
    }
    const sas = generateAccountSASQueryParameters(
      {
        expiresOn: new Date(Date.now() + 3_600_000),
        permissions: AccountSASPermissions.parse(permission),
        resourceTypes: AccountSASResourceTypes.parse('sco').toString(),
        services: AccountSASServices.parse('b').toString(),
      },
      new StorageSharedKeyCredential(azuriteAccount.name, azuriteAccount.key),
    );
    const endpoint = `http://127.0.0.1:${azurite.ports.blob}/${azuriteAccount.name}`;
    const trigger = mustBind(scaler, {
      params: {
        eventHubName: hub,
        blobContainer: container.containerName,
        checkpointStrategy: 'blobMetadata',
      },
      auth: {
        connection: hubs.connectionString,
        storageConnection: `BlobEndpoint=${endpoint};SharedAccessSignature=${sas}`,
      },
    });

    expect(await readOnce(trigger)).toBe(4 * 2 + 2 * 10);
  });

  it('counts every event where there is no checkpoint, or not even a container', async () => {
    const hub = hubWith([10n, 19n], [0n, 0n], [0n, -1n], [7n, 7n], [7n, 7n], [0n, 0n], [0n, 0n]);
    for (const emptied of [4, 5, 6]) hubs.expire(hub, emptied, 1);
    const { containerName } = await containerOf();

    const counts = [
      await readOnce(triggerOf({ eventHubName: hub, blobContainer: containerName })),
      await readOnce(
        triggerOf({ eventHubName: hub, blobContainer: 'nowhere', checkpointStrategy: 'blobMetadata' }),
      ),
    ];

    // Seven to seven is what a partition says that has one event, and one whose events are gone.
    expect(counts).toEqual([12, 12]);
  });

  it('asks for no checkpoint of a partition that never had an event', async () => {
    const hub = hubWith([0n, -1n]);
    const trigger = mustBind(scaler, {
      params: { eventHubName: hub },
      auth: {
        connection: hubs.connectionString,
        storageConnection: 'BlobEndpoint=http://127.0.0.1:1/x;AccountName=x;AccountKey=a2V5',
      },
    });

    expect(await readOnce(trigger)).toBe(0);
  });

  it.each([
    ['a checkpoint that is ahead by little', '105', 0],
    ['a number beyond 2^53 exactly', String(2n ** 62n + 1n), 9, [0n, 2n ** 62n + 10n]],
    ['numbers that began anew', String(2n ** 63n - 11n), 15, [0n, 5n]],
  ] as [string, string, number, [bigint, bigint]?][])(
    'takes %s',
    async (_title, sequence, expected, span = [0n, 100n]) => {
      const hub = hubWith(span);
      const container = await containerOf();
      await put(container, '0', `{"checkpoint":{"sequenceNumber":${sequence}}}`);
      const params = {
        eventHubName: hub,
        blobContainer: container.containerName,
        checkpointStrategy: 'goSdk',
      };

      expect(await readOnce(triggerOf(params))).toBe(expected);
    },
  );

  it('counts no more than keeps one replica for each partition busy, and is active by all', async () => {
    const hub = hubWith([0n, 999n], [0n, 999n]);
    const params = { eventHubName: hub, unprocessedEventThreshold: '10' };

    const measures = [
      await measureOnce(triggerOf({ ...params, activationUnprocessedEventThreshold: '1999' })),
      await measureOnce(triggerOf({ ...params, activationUnprocessedEventThreshold: '2000' })),
    ];

    expect(measures).toEqual([
      { value: 20, active: true },
      { value: 20, active: false },
    ]);
  });

  it.each([
    ['no JSON', 'goSdk', 'nothing', {}, 'is not JSON'],
    ['a text for a number', 'goSdk', '{"checkpoint":{"sequenceNumber":"7"}}', {}, 'not a whole number'],
    ['no metadata', 'blobMetadata', '', {}, 'no sequencenumber'],
    ['no metadata in a list', 'blobMetadata', '', {}, 'no sequencenumber', 4],
    ['metadata that is no number', 'blobMetadata', '', { sequencenumber: 'many' }, 'not a number'],
    [
      'a number of too many digits',
      'goSdk',
      `{"checkpoint":{"sequenceNumber":${'9'.repeat(30)}}}`,
      {},
      'too large',
    ],
  ] as [string, string, string, Record<string, string>, string, number?][])(
    'does not take %s for a checkpoint',
    async (_title, checkpointStrategy, text, metadata, problem, partitions = 1) => {
      const hub = hubWith(...Array.from({ length: partitions }, (): [bigint, bigint] => [0n, 100n]));
      const container = await containerOf();
      const name = checkpointStrategy === 'goSdk' ? '0' : `${place()}/${hub}/$default/checkpoint/0`;
      await put(container, name, text, metadata);

      const fault = await faultFrom(
        readOnce(
          triggerOf({ eventHubName: hub, blobContainer: container.containerName, checkpointStrategy }),
        ),
      );

      expect(fault).toMatchObject({
        code: 'SOURCE_ANSWER_INVALID',
        message: expect.stringContaining(problem),
      });
    },
  );
});

describe('refusals', () => {
  it('says that the key is wrong without showing it', async () => {
    const hub = hubWith([0n, 1n]);
    const trigger = triggerOf({ eventHubName: hub }, hubs.connectionStringOf('another key of no use'));

    const fault = await faultFrom(readOnce(trigger));

    expect(fault).toMatchObject({
      code: 'SOURCE_REFUSED',
      message: expect.stringContaining(`${hub} answered 401`),
    });
    expect(fault.message).not.toContain('another key');
  });

  it.each([
    ['first', -5n, 3n],
    ['last', 0n, -5n],
    ['last one, as small as can be', 0n, -(2n ** 63n)],
  ])('takes no number below zero for the %s event', async (_title, first, last) => {
    const hub = hubWith([0n, 4n], [first, last]);

    const fault = await faultFrom(readOnce(triggerOf({ eventHubName: hub })));

    expect(fault).toMatchObject({
      code: 'SOURCE_ANSWER_INVALID',
      message: expect.stringContaining('partition 1'),
    });
  });

  it('names the hub that is missing', async () => {
    const fault = await faultFrom(readOnce(triggerOf({ eventHubName: 'nowhere' })));

    expect(fault).toMatchObject({
      code: 'SOURCE_NOT_FOUND',
      message: expect.stringContaining('127.0.0.1/nowhere'),
    });
  });

  it.each([
    [429, 'SOURCE_BUSY'],
    [503, 'SOURCE_BUSY'],
    [500, 'SOURCE_FAILED'],
  ])('says what an answer of %i means', async (status, code) => {
    await using server = await startEventHubs();
    server.create('orders');
    server.status = status;

    const fault = await faultFrom(readOnce(triggerOf({ eventHubName: 'orders' }, server.connectionString)));

    expect(fault.code).toBe(code);
    expect(fault.message).not.toContain('TrackingId');
  });
});

describe('the connection', () => {
  it('is one for all triggers, and reads a hub once for all groups', async () => {
    await using server = await startEventHubs();
    server.create('one', 4);
    server.create('two', 2);
    const triggers = Array.from({ length: 40 }, (_, index) => {
      const params = { eventHubName: index % 2 === 0 ? 'one' : 'two', consumerGroup: `group-${index}` };
      return triggerOf(params, server.connectionString).params as EventHubTrigger;
    });
    const [first] = triggers;
    if (first === undefined || scaler.readMany === undefined) throw new Error('nothing to read');
    await using conn = await scaler.open(first, openContext(signal));

    const values = await scaler.readMany(triggers, readContext(conn, signal));

    expect(values).toEqual(triggers.map(() => ({ value: 0, active: false })));
    expect(server.connections).toBe(1);
    expect(server.containerIds[0]).toMatch(/^eventide-/);
    expect(server.userAgents).toEqual(['eventide for default/app']);
    const reads = server.asked.filter(each => each.startsWith('READ'));
    expect(reads.sort()).toEqual([
      'READ one',
      ...[0, 1, 2, 3].map(id => `READ one/${id}`),
      'READ two',
      'READ two/0',
      'READ two/1',
    ]);
    expect(server.asked.filter(each => each === 'put-token')).toHaveLength(2);
  });

  it('says of each trigger what is wrong with it alone', async () => {
    const hub = hubWith([0n, 4n]);
    const good = triggerOf({ eventHubName: hub }).params as EventHubTrigger;
    const bad = triggerOf({ eventHubName: 'nowhere' }).params as EventHubTrigger;
    await using conn = await scaler.open(good, openContext(signal));

    const values = await scaler.readMany?.([bad, good], readContext(conn, signal));

    expect(values).toEqual([
      expect.objectContaining({ code: 'SOURCE_NOT_FOUND' }),
      { value: 5, active: true },
    ]);
  });

  it('shows a new signature before the old one ends, and again once it was refused', async () => {
    await using server = await startEventHubs();
    server.create('orders');
    const params = triggerOf({ eventHubName: 'orders' }, server.connectionString).params as EventHubTrigger;
    await using conn = await scaler.open(params, openContext(signal));
    const at = (minutes: number) =>
      scaler.read(params, { ...readContext(conn, signal), now: Date.UTC(2026, 0, 15, 12, minutes) });
    const tokens = () => server.asked.filter(each => each === 'put-token').length;

    const counts: number[] = [];
    for (const minutes of [0, 44, 46]) {
      await at(minutes);
      counts.push(tokens());
    }
    server.status = 401;
    await faultFrom(at(47));
    server.status = undefined;
    await at(48);

    expect([...counts, tokens()]).toEqual([1, 1, 2, 3]);
  });

  it('comes in with a token of the pod identity, and shows the next one when there is one', async () => {
    await using server = await startEventHubs();
    server.create('orders');
    server.bearers.add('first').add('second');
    const { params } = triggerOf({ eventHubName: 'orders' }, server.connectionString);
    const { place, ...rest } = params as EventHubTrigger;
    const scope = 'https://eventhubs.azure.net/.default';
    const trigger: EventHubTrigger = {
      ...rest,
      place: { ...place, access: { ...place.access, credential: { kind: 'identity', scope } } },
    };
    let text = 'revoked';
    const scopes = new Set<string>();
    const tokens = {
      ...noTokens,
      async accessToken(_: unknown, wanted: string) {
        scopes.add(wanted);
        return new Secret(text);
      },
      refused(given: Secret | AwsCredentials) {
        if (given instanceof Secret && given.reveal() === 'revoked') text = 'first';
      },
    };
    await using conn = await scaler.open(trigger, openContext(signal, { tokens }));

    const fault = await faultFrom(scaler.read(trigger, readContext(conn, signal)));
    await scaler.read(trigger, readContext(conn, signal));
    await scaler.read(trigger, readContext(conn, signal));
    text = 'second';
    await scaler.read(trigger, readContext(conn, signal));

    expect(fault.code).toBe('SOURCE_REFUSED');
    expect([...scopes]).toEqual([scope]);
    expect(server.asked.filter(each => each === 'put-token')).toHaveLength(3);
  });

  it('is encrypted, and refuses a server that nobody vouches for', async () => {
    await using server = await startEventHubs({ key: serverKey, cert: serverCertificate });
    server.create('orders');
    server.span('orders', 0, 0n, 2n);
    const trigger = triggerOf({ eventHubName: 'orders' }, server.connectionString);

    const value = await readOnce(trigger, { open: { http: { roots: [authority] } } });
    const fault = await faultFrom(readOnce(trigger));

    expect(value).toBe(3);
    expect(fault.code).toBe('SOURCE_UNREACHABLE');
  });

  it('connects anew where the server has gone silent', async () => {
    await using server = await startEventHubs();
    server.create('orders');
    server.span('orders', 0, 0n, 2n);
    const params = triggerOf({ eventHubName: 'orders' }, server.connectionString).params as EventHubTrigger;
    await using conn = await scaler.open(params, openContext(signal));
    await scaler.read(params, readContext(conn, signal));

    server.silent = true;
    using limit = deadline(signal, 100);
    const fault = await faultFrom(scaler.read(params, readContext(conn, limit.signal)));
    server.silent = false;

    expect(fault.code).toBe('SOURCE_TIMEOUT');
    expect(await scaler.read(params, readContext(conn, signal))).toMatchObject({ value: 3 });
    expect(server.connections).toBe(2);
  });

  it('leaves nothing behind after many opens and closes', async () => {
    await using server = await startEventHubs();
    server.create('orders');
    const trigger = triggerOf({ eventHubName: 'orders' }, server.connectionString);

    for (let round = 0; round < 200; round += 1) await readOnce(trigger);
    await until(() => server.openSockets === 0);

    expect(server.connections).toBe(200);
  });
});

describe('filter', () => {
  const kinds = (...each: string[]) => each.map(kind => ({ body: { kind }, properties: { kind } }));
  /** A hub with events, the connection to it and its checkpoint. */
  async function filtered(params: Record<string, string>, partitions = 1) {
    const server = await startEventHubs();
    server.create('orders', partitions);
    const container = await containerOf();
    const given = {
      eventHubName: 'orders',
      blobContainer: container.containerName,
      checkpointStrategy: 'goSdk',
    };
    const trigger = triggerOf({ ...given, ...params }, server.connectionString).params as EventHubTrigger;
    const conn = await scaler.open(trigger, openContext(signal));
    return {
      server,
      read: async () => (await scaler.read(trigger, readContext(conn, signal))) as { value: number },
      checkpoint: (partition: number, sequence: number) =>
        put(container, String(partition), `{"checkpoint":{"sequenceNumber":${sequence}}}`),
      receives: () => server.asked.filter(each => each.startsWith('receive')),
      async [Symbol.asyncDispose]() {
        await scaler.close(conn);
        await server.stop();
      },
    };
  }

  it.each([
    ["body.kind == 'page'", 3],
    ["properties.kind in ['image', 'video']", 1],
    ['system.sequenceNumber >= 4', 1],
    ["body.kind == 'none'", 0],
  ])('counts only events for which %s', async (filter, expected) => {
    await using hub = await filtered({ filter }, 2);
    hub.server.send('orders', 0, ...kinds('page', 'page', 'image', 'page', 'sound'));
    hub.server.send('orders', 1, ...kinds('page', 'sound'));
    await hub.checkpoint(0, 0);

    expect(await hub.read()).toEqual({ value: expected, active: expected > 0 });
  });

  it('looks at each event once, and forgets those that were processed', async () => {
    await using hub = await filtered({ filter: "body.kind == 'page'" });
    hub.server.send('orders', 0, ...kinds('page', 'sound', 'page'));
    const values = [await hub.read(), await hub.read()];
    hub.server.send('orders', 0, ...kinds('page'));
    values.push(await hub.read());
    await hub.checkpoint(0, 2);
    values.push(await hub.read());
    await hub.checkpoint(0, 0);
    values.push(await hub.read());

    expect(values.map(({ value }) => value)).toEqual([2, 2, 3, 1, 2]);
    expect(hub.receives()).toEqual([
      'receive orders/$Default/0 > -1',
      'receive orders/$Default/0 > 2',
      'receive orders/$Default/0 > 0',
    ]);
  });

  it('counts what is beyond its look-ahead until it gets there', async () => {
    await using hub = await filtered({ filter: "body.kind == 'page'", filterLookAhead: '100' });
    const sounds = Array.from({ length: 240 }, () => 'sound');
    hub.server.send('orders', 0, ...kinds(...sounds, 'page'));

    const values = [await hub.read(), await hub.read(), await hub.read(), await hub.read()];

    // One full replica for the one partition, once it would be two.
    expect(values.map(({ value }) => value)).toEqual([64, 41, 1, 1]);
  });

  it('counts what it was not shown in time, and keeps the connection', async () => {
    await using hub = await filtered({ filter: 'false' });
    hub.server.send('orders', 0, ...kinds('page', 'page'));
    hub.server.span('orders', 0, 0n, 4n);

    const values = [await hub.read(), await hub.read()];

    expect(values.map(({ value }) => value)).toEqual([3, 3]);
    expect(hub.server.connections).toBe(1);
  });

  it('does not look for events that have expired', async () => {
    await using hub = await filtered({ filter: 'true' });
    hub.server.send('orders', 0, ...kinds('page', 'page', 'page', 'page'));
    hub.server.hubs.get('orders')?.[0]?.events.splice(0, 2);
    hub.server.span('orders', 0, 2n, 3n);
    await hub.checkpoint(0, 0);

    expect(await hub.read()).toEqual({ value: 2, active: true });
  });

  it('says what to do where the consumers hold their partitions alone, and looks from another group', async () => {
    await using hub = await filtered({ filter: 'true', consumerGroup: 'workers' });
    await using other = await filtered({
      filter: 'true',
      consumerGroup: 'workers',
      filterConsumerGroup: 'eventide',
    });
    for (const { server } of [hub, other]) {
      server.held.add('orders/workers');
      server.send('orders', 0, ...kinds('page'));
    }

    const fault = await faultFrom(hub.read());

    expect(fault).toMatchObject({
      code: 'SOURCE_REFUSED',
      message: expect.stringContaining('filterConsumerGroup'),
    });
    expect(await other.read()).toEqual({ value: 1, active: true });
  });
});

scalerContract(scaler, {
  async serve() {
    const hub = `h-${randomUUID()}`;
    hubs.create(hub, 2);
    return {
      params: { eventHubName: hub },
      auth: auth(),
      async fill(count) {
        for (let index = 0; index < count; index += 1) hubs.send(hub, index % 2, { body: index });
      },
      stop: () => hubs.stop(),
      restart: () => hubs.start(),
      [Symbol.asyncDispose]: async () => {},
    };
  },
  params: { eventHubName: 'orders' },
  auth: { storageConnection: 'AccountName=mine;AccountKey=c2VjcmV0IGtleQ==' },
  alsoRequired: ['connection', 'storageConnection', 'eventHubName'],
  expect: 5,
  protocol: 'tcp',
  wrong: () => ({ auth: auth(hubs.connectionStringOf(Buffer.from('another key').toString('base64'))) }),
  missing: () => ({ params: { eventHubName: 'nowhere' } }),
  cannot: { numbers: 'a hub says which events it has, not how many: tried below' },
  at: ({ url, host, port }) => ({
    auth: {
      connection: `Endpoint=sb://${host}:${port}/;SharedAccessKeyName=${eventHubsKey.name};SharedAccessKey=${eventHubsKey.key}${url.startsWith('https') ? '' : ';UseDevelopmentEmulator=true'}`,
    },
  }),
});

describe('parameters', () => {
  const connection = 'Endpoint=sb://mine.servicebus.windows.net/;SharedAccessKeyName=a;SharedAccessKey=b';
  const both = { connection: `${connection};EntityPath=orders`, storageConnection: 'x' };
  it.each([
    ['a hub without a name', 'none', {}, { ...both, connection }, '"eventHubName" is missing'],
    [
      'a connection string of another kind',
      'none',
      {},
      { ...both, connection: 'EntityPath=a' },
      'needs an Endpoint',
    ],
    ['no key', 'none', {}, { ...both, connection: 'Endpoint=sb://a/;EntityPath=a' }, 'SharedAccessKeyName'],
    ['no threshold', 'none', { unprocessedEventThreshold: '0' }, both, '"0" is not a number of events'],
    ['an unknown cloud', 'none', { cloud: 'Moon' }, both, '"Moon" is not a cloud'],
    ['a private cloud without a domain', 'none', { cloud: 'private' }, both, '"endpointSuffix" is missing'],
    ['a filter that is none', 'none', { filter: 'kind = 1' }, both, '"kind = 1" has'],
    [
      'a look-ahead of nothing',
      'none',
      { filterLookAhead: '0' },
      both,
      '"0" is not a number of events to look at',
    ],
    ['no container', 'none', { checkpointStrategy: 'dapr' }, both, '"blobContainer" is missing'],
    ['another identity', 'gcp', {}, both, 'pod identity gcp is not for Azure Event Hubs'],
    ['no namespace', 'azure-workload', { eventHubName: 'a' }, both, '"eventHubNamespace" is missing'],
    [
      'no storage',
      'azure-workload',
      { eventHubName: 'a', eventHubNamespace: 'b' },
      {},
      '"storageAccountName" is missing',
    ],
    [
      'a host that is none',
      'azure-workload',
      { eventHubName: 'a', eventHubNamespace: 'b/c' },
      both,
      'name of a host',
    ],
  ] as const)('refuses %s (identity %s)', (_title, provider, params, given, problem) => {
    const binding = bind(scaler, { params, auth: given }, { podIdentity: { provider } });

    expect(binding).toMatchObject({ ok: false, problems: [{ problem: expect.stringContaining(problem) }] });
  });

  it('calls checkpoints as a connection string does that is given beside a pod identity', () => {
    const params = { eventHubName: 'a', eventHubNamespace: 'b' };

    const bound = mustBind(scaler, { params, auth: both }, { podIdentity: { provider: 'azure-workload' } });

    expect(bound.params).toMatchObject({
      place: { access: { host: 'b.servicebus.windows.net' }, hub: 'a' },
      plan: { namespace: 'mine.servicebus.windows.net', hub: 'orders' },
    });
  });

  it('has KEDA’s metric name and defaults', () => {
    const bound = mustBind(scaler, { auth: both });

    expect(bound).toMatchObject({
      metricName: 's0-azure-eventhub-$Default',
      target: { type: 'AverageValue', value: 64 },
      activation: 0,
    });
  });

  it.each([
    ['AzureUSGovernmentCloud', {}, 'b.servicebus.usgovcloudapi.net', 'https://eventhubs.azure.net/.default'],
    [
      'Private',
      { endpointSuffix: 'bus.example', storageEndpointSuffix: 'core.example' },
      'b.bus.example',
      'https://b.bus.example/.default',
    ],
  ])('finds namespace and storage of the cloud %s', (cloud, more, host, scope) => {
    const params = { eventHubName: 'a', eventHubNamespace: 'b', storageAccountName: 'c', cloud, ...more };

    const bound = mustBind(scaler, { params }, { podIdentity: { provider: 'azure-workload' } });

    const { place } = bound.params as EventHubTrigger;
    expect(place).toMatchObject({
      written: { namespace: host },
      access: { host, port: 5671, credential: { scope } },
    });
    expect(place.storage.endpoint).toMatch(/^https:\/\/c\.blob\.core\./);
  });
});
