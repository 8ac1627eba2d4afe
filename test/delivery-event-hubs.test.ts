import { randomUUID } from 'node:crypto';
import {
  AccountSASPermissions,
  AccountSASResourceTypes,
  AccountSASServices,
  BlobServiceClient,
  type ContainerClient,
  generateAccountSASQueryParameters,
  SASProtocol,
  StorageSharedKeyCredential,
} from '@azure/storage-blob';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Scaler } from '../src/scaler/define.ts';
import type { Claim } from '../src/scaler/delivery.ts';
import { type Committed, readDone } from '../src/scaler/families/partition-window.ts';
import eventHub from '../src/scalers/azure-eventhub.ts';
import { type Azurite, azuriteAccount, startAzurite } from './azurite.ts';
import { named, openDelivery, text, windowedContract } from './delivery-windowed.ts';
import { type EventHubs, type HubEvent, startEventHubs } from './event-hubs.ts';
import { faultFrom } from './scaler-contract.ts';

let azurite: Azurite;
let hubs: EventHubs;
let hub: string;
let container: ContainerClient;
const partitions = 2;
const scaler = eventHub as unknown as Scaler;

beforeAll(async () => {
  azurite = await startAzurite();
  hubs = await startEventHubs();
});

afterAll(async () => {
  await hubs.stop();
  await azurite.stop();
});

/** A hub of its own, with a container of its own for its checkpoints. */
async function makeHub(): Promise<void> {
  hub = `Tasks-${randomUUID().slice(0, 8)}`;
  hubs.create(hub, partitions);
  container = BlobServiceClient.fromConnectionString(azurite.connectionString).getContainerClient(
    `c-${randomUUID()}`,
  );
  await container.create();
}

const given = (more: Record<string, string> = {}) => ({
  params: {
    eventHubName: hub,
    consumerGroup: 'Jobs',
    blobContainer: container.containerName,
    checkpointStrategy: 'blobMetadata',
    ...more,
  },
  auth: { connection: hubs.connectionString, storageConnection: azurite.connectionString },
});

const groupPath = () => `127.0.0.1:${hubs.port}/${hub}/jobs`.toLowerCase();
const checkpointBlob = (partition: number) =>
  container.getBlockBlobClient(`${groupPath()}/checkpoint/${partition}`);

/** A connection string of the storage that is a signature for these rights. */
function signatureFor(rights: string): string {
  const values = {
    expiresOn: new Date(Date.now() + 3_600_000),
    protocol: SASProtocol.HttpsAndHttp,
    permissions: AccountSASPermissions.parse(rights),
    services: AccountSASServices.parse('b').toString(),
    resourceTypes: AccountSASResourceTypes.parse('co').toString(),
  };
  const key = new StorageSharedKeyCredential(azuriteAccount.name, azuriteAccount.key);
  const token = generateAccountSASQueryParameters(values, key);
  const url = `http://127.0.0.1:${azurite.ports.blob}/${azuriteAccount.name}`;
  return `BlobEndpoint=${url};SharedAccessSignature=${token}`;
}

/** The metadata of a checkpoint; undefined where there is none. */
async function checkpoint(partition: number): Promise<Record<string, string> | undefined> {
  const blob = checkpointBlob(partition);
  return (await blob.exists()) ? (await blob.getProperties()).metadata : undefined;
}

async function poison(): Promise<Record<string, unknown>[]> {
  const found: Record<string, unknown>[] = [];
  for await (const { name } of container.listBlobsFlat({ prefix: `${groupPath()}/poison/` })) {
    const bytes = await container.getBlobClient(name).downloadToBuffer();
    found.push({ name: name.slice(groupPath().length + 1), ...JSON.parse(bytes.toString('utf8')) });
  }
  return found;
}

/** What the blobs say. */
async function committed(): Promise<Committed[]> {
  const all: Committed[] = [];
  for (let id = 0; id < partitions; id += 1) {
    const metadata = await checkpoint(id);
    const offset = Number(metadata?.['sequencenumber'] ?? -1) + 1;
    all.push({ offset, done: readDone(offset, metadata?.['eventide']?.split(' ')[1] ?? null) });
  }
  return all;
}

const sendTo = (partition: number, ...bodies: unknown[]) =>
  hubs.send(hub, partition, ...bodies.map((body): HubEvent => ({ body })));

describe('events of a hub', () => {
  windowedContract({
    scaler,
    empty: makeHub,
    given,
    send: async (partition, ...texts) => sendTo(partition, ...texts),
    committed,
    setBack: (partition, offset) =>
      checkpointBlob(partition).setMetadata({
        sequencenumber: String(offset - 1),
        offset: `${offset - 1}00`,
      }),
    expire: async (partition, before) => hubs.expire(hub, partition, before),
    poison: async () => (await poison()).map(({ body }) => String(body)),
  });
});

describe('of Event Hubs alone', () => {
  beforeEach(makeHub);

  const send = sendTo;
  const opened = (more: Record<string, string> = {}, auth: Record<string, string> = {}) => {
    const all = given(more);
    return openDelivery(scaler, { ...all, auth: { ...all.auth, ...auth } });
  };

  it('begins with the oldest event, and never hands out what is held', async () => {
    send(0, 'a', 'b');
    send(1, 'c');
    await using queue = await opened();

    const claims = await queue.claim();

    expect(claims.map(text).sort()).toEqual(['a', 'b', 'c']);
    expect(named(claims, 'b')).toMatchObject({
      messageId: `0/1-${Date.UTC(2026, 0, 15, 12)}`,
      deliveryCount: 1,
      sentAt: Date.UTC(2026, 0, 15, 12),
    });
    expect(await queue.claim()).toEqual([]);
  });

  it('writes checkpoints that Azure’s SDKs go on from, with what is done beyond', async () => {
    send(0, 'a', 'b', 'c', 'd');
    await using queue = await opened();
    const claims = await queue.claim();

    await queue.acknowledge(named(claims, 'c'));
    const early = await checkpoint(0);
    await queue.acknowledge(named(claims, 'a'));
    const one = await checkpoint(0);
    await queue.acknowledge(named(claims, 'b'));
    const all = await checkpoint(0);

    expect(early).toEqual({
      sequencenumber: '-1',
      offset: '-1',
      eventide: expect.stringMatching(/^-1 eventide:1:/),
    });
    expect(one).toMatchObject({
      sequencenumber: '0',
      offset: '0',
      eventide: expect.stringMatching(/^0 eventide:1:/),
    });
    expect(all).toEqual({ sequencenumber: '2', offset: '200' });
    expect(await queue.read()).toEqual({ value: 1, active: true });
  });

  it('knows where Event Hubs has an event that was done before this process', async () => {
    send(0, 'a', 'b', 'c');
    await using first = await opened();
    const claims = await first.claim();
    await first.acknowledge(named(claims, 'b'));
    await using second = await opened();

    await second.acknowledge(named(claims, 'a'));

    expect(await checkpoint(0)).toEqual({ sequencenumber: '1', offset: '100' });
  });

  it('goes on where somebody else has moved the checkpoint to, and heeds no marks from elsewhere', async () => {
    send(0, 'a', 'b', 'c', 'd');
    await using queue = await opened();
    const claims = await queue.claim();
    await queue.acknowledge(named(claims, 'b'));
    const { eventide = '' } = (await checkpoint(0)) ?? {};

    await checkpointBlob(0).setMetadata({ sequencenumber: '0', offset: '0', eventide });
    await using later = await opened();

    expect(await later.texts()).toEqual(['b', 'c', 'd']);
    expect((await faultFrom(queue.claim().then(() => queue.extend(named(claims, 'a'))))).code).toBe(
      'MESSAGE_LOST',
    );
  });

  it('hands events out again where the checkpoint was deleted', async () => {
    send(0, 'a', 'b');
    await using queue = await opened();
    for (const claim of await queue.claim()) await queue.acknowledge(claim);
    const before = await queue.texts();

    await checkpointBlob(0).delete();

    expect(before).toEqual([]);
    expect(await queue.texts()).toEqual(['a', 'b']);
  });

  it('keeps an event that cannot be processed, with its properties, once', async () => {
    hubs.send(hub, 1, { body: 'bad', properties: { lang: 'en' }, messageId: 'm-1' });
    await using first = await opened();
    const [claim] = (await first.claim()) as [Claim];
    await using second = await opened();

    await second.deadLetter(claim);
    const kept = await poison();
    for (const { name } of kept) await container.deleteBlob(`${groupPath()}/${name}`);
    await first.claim();
    await first.deadLetter(claim, claim.body);

    expect(await poison()).toEqual([]);
    expect(kept).toEqual([
      {
        name: `poison/1/0-${Date.UTC(2026, 0, 15, 12)}`,
        event: claim.messageId,
        attempts: 5,
        reason: 'its job failed',
        messageId: 'm-1',
        properties: { lang: 'en' },
        system: expect.objectContaining({ 'x-opt-sequence-number': 0, 'x-opt-offset': '0' }),
        body: 'bad',
      },
    ]);
    expect(await committed()).toMatchObject([{ offset: 0 }, { offset: 1 }]);
  });

  it('keeps the body that it remembers of an event that has expired, bytes as base64', async () => {
    send(0, 'a', 'b');
    await using queue = await opened();
    const claims = await queue.claim();
    hubs.expire(hub, 0, 2);

    await queue.deadLetter(named(claims, 'a'), Buffer.from([0xff]));

    expect(await poison()).toMatchObject([{ bodyBase64: '/w==' }]);
    expect(await checkpoint(0)).toMatchObject({ sequencenumber: '0' });
  });

  it('writes where it is in a partition whose events have all expired', async () => {
    send(0, 'a', 'b', 'c');
    hubs.expire(hub, 0, 3);
    await using queue = await opened();

    await queue.claim();

    expect(await checkpoint(0)).toEqual({ sequencenumber: '2', offset: '-1' });
    expect(await queue.read()).toEqual({ value: 0, active: false });
  });

  it('counts events as processed that the filter does not match', async () => {
    send(0, { kind: 'sound' }, { kind: 'page' }, { kind: 'sound' });
    send(1, { kind: 'sound' });
    await using queue = await opened({ filter: "body.kind == 'page'" });

    const claims = await queue.claim();
    const [before, other] = [await checkpoint(0), await checkpoint(1)];
    for (const claim of claims) await queue.acknowledge(claim);

    expect(claims.map(text)).toEqual(['{"kind":"page"}']);
    expect([before, other]).toMatchObject([{ sequencenumber: '0' }, { sequencenumber: '0' }]);
    expect(await checkpoint(0)).toEqual({ sequencenumber: '2', offset: '200' });
    expect(await queue.claim()).toEqual([]);
  });

  it('hands out nothing while consumers of the group have the hub for themselves', async () => {
    send(0, 'a');
    hubs.held.add(`${hub}/Jobs`);
    await using queue = await opened();

    const fault = await faultFrom(queue.claim());
    hubs.held.delete(`${hub}/Jobs`);

    expect(fault).toMatchObject({
      code: 'SOURCE_REFUSED',
      message: expect.stringContaining('delivery needs a consumerGroup for itself'),
    });
    expect(await queue.texts()).toEqual(['a']);
  });

  it('hands out nothing where the container is missing, or nothing may be written to it', async () => {
    send(0, 'a');
    await using missing = await opened({ blobContainer: 'not-there' });
    await using reader = await opened({}, { storageConnection: signatureFor('rl') });

    const faults = [await faultFrom(missing.claim()), await faultFrom(reader.claim())];

    expect(faults.map(({ code }) => code)).toEqual(['SOURCE_NOT_FOUND', 'SOURCE_REFUSED']);
  });

  it('keeps what it holds while the credentials of the storage change', async () => {
    send(0, 'a', 'b');
    await using queue = await opened({}, { storageConnection: signatureFor('rlwc') });
    const claims = await queue.claim();

    queue.change(given());

    expect(await queue.claim()).toEqual([]);
    await queue.acknowledge(named(claims, 'a'));
    expect(await checkpoint(0)).toEqual({ sequencenumber: '0', offset: '0' });
  });

  it('goes on over a new connection after the server was restarted, and loses nothing', async () => {
    await using server = await startEventHubs();
    server.create(hub);
    server.send(hub, 0, { body: 'a' }, { body: 'b' });
    await using queue = await opened({}, { connection: server.connectionString });
    const claims = await queue.claim(1);

    await server.stop();
    const fault = await faultFrom(queue.claim());
    await server.start();
    await queue.acknowledge(named(claims, 'a'));

    expect(fault.code).toBe('SOURCE_UNREACHABLE');
    expect(await queue.texts()).toEqual(['b']);
  });

  it('asks no more about partitions than Event Hubs answers', async () => {
    send(0, 'a', 'b', 'c');
    await using queue = await opened();
    const now = Date.now();
    const before = hubs.asked.length;
    const reads = () => hubs.asked.slice(before).filter(each => each === `READ ${hub}/0`).length;

    const counts: [claims: number, reads: number][] = [];
    for (const ms of [0, 1, 9999, 9999, 10_098, 10_100]) {
      counts.push([(await queue.claim(1, now + ms)).length, reads()]);
    }

    // The first asks where the oldest event is, too, and then what there is.
    expect(counts).toEqual([
      [1, 2],
      [1, 2],
      [1, 2],
      [0, 3],
      [0, 3],
      [0, 4],
    ]);
  });

  it('says that a checkpoint is of a hub that is not there any more', async () => {
    send(0, 'a');
    await checkpointBlob(0).upload('', 0, { metadata: { sequencenumber: '50', offset: '1' } });
    await using queue = await opened();

    const fault = await faultFrom(queue.claim());

    expect(fault.message).toContain('is beyond its end');
  });

  it.each(['goSdk', 'dapr', 'azureFunction', 'other'])(
    'refuses checkpoints of %s by name',
    async strategy => {
      await using queue = await opened({ checkpointStrategy: strategy });

      expect(() => queue.queueId()).toThrow(/give checkpointStrategy: blobMetadata/);
      expect((await faultFrom(queue.claim())).code).toBe('NOT_SUPPORTED');
    },
  );
});
