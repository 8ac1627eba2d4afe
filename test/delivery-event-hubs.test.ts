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
import type { ReadContext } from '../src/scaler/context.ts';
import type { Scaler } from '../src/scaler/define.ts';
import type { Claim, Delivery } from '../src/scaler/delivery.ts';
import { eventHubDelivery } from '../src/scaler/families/azure-event-hub-delivery.ts';
import { readDone } from '../src/scaler/families/partition-window.ts';
import eventHub from '../src/scalers/azure-eventhub.ts';
import { type Azurite, azuriteAccount, startAzurite } from './azurite.ts';
import { deliveryContract } from './delivery-contract.ts';
import { type EventHubs, type HubEvent, startEventHubs } from './event-hubs.ts';
import { faultFrom, mustBind, openContext, readContext } from './scaler-contract.ts';

let azurite: Azurite;
let hubs: EventHubs;
let hub: string;
let container: ContainerClient;
const partitions = 2;
const { signal } = new AbortController();
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

/** How many events are not done, as the blobs say. */
async function left(): Promise<number> {
  let count = 0;
  for (let id = 0; id < partitions; id += 1) {
    const metadata = await checkpoint(id);
    const next = Number(metadata?.['sequencenumber'] ?? -1) + 1;
    const done = readDone(next, metadata?.['eventide']?.split(' ')[1] ?? null);
    count += Number(hubs.hubs.get(hub)?.[id]?.last ?? -1n) + 1 - next - done.size;
  }
  return count;
}

describe('events of a hub', () => {
  // What is released with a pause comes back at once here: the pause is known to nobody but us.
  const release: typeof eventHubDelivery.release = (trigger, context, receipt) =>
    eventHubDelivery.release(trigger, context, receipt, 0);
  let sent = 0;

  deliveryContract({
    scaler: { ...scaler, deliver: { ...eventHubDelivery, release } } as unknown as Scaler,
    empty: makeHub,
    given,
    async send(text) {
      sent += 1;
      hubs.send(hub, sent % partitions, { body: text });
    },
    async pass() {},
    left,
    poison: async () => (await poison()).map(({ body }) => String(body)),
  });
});

describe('by itself', () => {
  beforeEach(makeHub);

  /** The delivery by itself, over a connection of its own. */
  async function opened(more: Record<string, string> = {}, storageConnection?: string, connection?: string) {
    const { params: named, auth } = given(more);
    const other = {
      ...(storageConnection === undefined ? {} : { storageConnection }),
      ...(connection === undefined ? {} : { connection }),
    };
    const bound = mustBind(scaler, { params: named, auth: { ...auth, ...other } });
    let { params } = bound;
    const conn = await scaler.open(params as never, openContext(signal));
    const deliver = bound.scaler.deliver as Delivery<unknown, unknown>;
    // What was looked at a moment ago is not looked at again: each call is a little later.
    let clock = Date.now();
    const later = () => {
      clock += 1000;
      return clock;
    };
    const context = (now = later()): ReadContext<unknown> => ({ ...readContext(conn, signal), now });
    return {
      claim: (most = 100, now?: number) => deliver.claim(params, context(now), most),
      texts: async (most = 100, now?: number) =>
        (await deliver.claim(params, context(now), most)).map(text).sort(),
      extend: ({ receipt }: Claim, now?: number) => deliver.extend(params, context(now), receipt),
      acknowledge: ({ receipt }: Claim) => deliver.acknowledge(params, context(), receipt),
      release: ({ receipt }: Claim, delayMs: number, now?: number) =>
        deliver.release(params, context(now), receipt, delayMs),
      deadLetter: ({ receipt, messageId }: Claim, body?: Uint8Array) =>
        deliver.deadLetter(params, context(), {
          receipt,
          messageId,
          body,
          attempts: 5,
          why: 'its job failed',
        }),
      read: () => scaler.read(params as never, readContext(conn, signal) as never),
      queueId: () => deliver.queueId(params),
      /** The storage is entered with something else from now on. */
      enterStorageWith(other: string) {
        const changed = { ...auth, storageConnection: other };
        ({ params } = mustBind(scaler, { params: named, auth: changed }));
      },
      [Symbol.asyncDispose]: () => scaler.close(conn as never),
    };
  }

  const text = ({ body }: Claim) => Buffer.from(body).toString('utf8');
  const send = (partition: number, ...bodies: unknown[]) =>
    hubs.send(hub, partition, ...bodies.map((body): HubEvent => ({ body })));
  const named = (claims: readonly Claim[], name: string) => {
    const found = claims.find(claim => text(claim) === name);
    if (found === undefined) throw new Error(`no ${name} among the claims`);
    return found;
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

  it('claims no more than it was asked for, from one partition after the other', async () => {
    send(0, 'a', 'b', 'c');
    send(1, 'd', 'e', 'f');
    await using queue = await opened();

    const claims: Claim[][] = [];
    for (const most of [1, 1, 1, 5]) claims.push(await queue.claim(most));

    expect(claims.map(({ length }) => length)).toEqual([1, 1, 1, 3]);
    expect(claims.flat().map(text).sort()).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
    // Which one comes first is the network's; from then on they take turns.
    expect(claims[1]?.[0]?.messageId.slice(0, 1)).not.toBe(claims[2]?.[0]?.messageId.slice(0, 1));
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

  it('has a later process hand out what is not done, and only that', async () => {
    send(0, 'a', 'b', 'c', 'd', 'e');
    await using first = await opened();
    const claims = await first.claim();
    await first.acknowledge(named(claims, 'a'));
    await first.acknowledge(named(claims, 'd'));
    await using second = await opened();

    expect(await second.texts()).toEqual(['b', 'c', 'e']);
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

  it('writes on top of what another process has written in the meantime', async () => {
    send(0, 'a', 'b', 'c');
    await using first = await opened();
    await using second = await opened();
    const claims = await first.claim();
    await second.claim();

    await first.acknowledge(named(claims, 'a'));
    await second.acknowledge(named(claims, 'b'));
    await Promise.all([first.acknowledge(named(claims, 'c')), second.acknowledge(named(claims, 'c'))]);

    expect(await checkpoint(0)).toEqual({ sequencenumber: '2', offset: '200' });
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

  it('hands a released event out again after its pause, and one that nobody held on to after its claim', async () => {
    send(0, 'a', 'b');
    await using queue = await opened();
    const now = Date.now();
    const claims = await queue.claim(100, now);
    await queue.release(named(claims, 'a'), 5000, now);
    await queue.extend(named(claims, 'b'), now + 30_000);

    const early = await queue.claim(100, now + 4999);
    const again = await queue.claim(100, now + 5000);
    const held = await queue.claim(100, now + 64_000);
    const expired = await queue.claim(100, now + 90_000);

    expect([early, again, held, expired].map(each => each.map(text))).toEqual([[], ['a'], [], ['a', 'b']]);
    expect(again).toMatchObject([{ deliveryCount: 2, messageId: named(claims, 'a').messageId }]);
  });

  it('settles an event once', async () => {
    send(0, 'a');
    await using queue = await opened();
    const [claim] = (await queue.claim()) as [Claim];
    await queue.acknowledge(claim);

    await queue.acknowledge(claim);

    expect((await faultFrom(queue.release(claim, 0))).code).toBe('MESSAGE_LOST');
    expect((await faultFrom(queue.extend(claim))).code).toBe('MESSAGE_LOST');
    expect((await faultFrom(queue.acknowledge({ ...claim, receipt: 'strange' }))).code).toBe('MESSAGE_LOST');
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
    expect(await left()).toBe(0);
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

  it('skips what has expired', async () => {
    send(0, 'a', 'b', 'c');
    await using queue = await opened();
    const claims = await queue.claim(2);
    await queue.release(named(claims, 'b'), 0);
    hubs.expire(hub, 0, 2);

    const rest = await queue.claim();
    for (const claim of [named(claims, 'a'), ...rest]) await queue.acknowledge(claim);

    expect(rest.map(text)).toEqual(['c']);
    expect(await checkpoint(0)).toEqual({ sequencenumber: '2', offset: '200' });
  });

  it('is done with a partition whose events have all expired, and takes what comes then', async () => {
    send(0, 'a', 'b', 'c');
    hubs.expire(hub, 0, 3);
    await using queue = await opened();

    const none = await queue.claim();
    const passed = await checkpoint(0);
    const count = await queue.read();
    send(0, 'd');

    expect(none).toEqual([]);
    expect(passed).toEqual({ sequencenumber: '2', offset: '-1' });
    expect(count).toEqual({ value: 0, active: false });
    expect(await queue.texts()).toEqual(['d']);
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
    await using reader = await opened({}, signatureFor('rl'));

    const faults = [await faultFrom(missing.claim()), await faultFrom(reader.claim())];

    expect(faults.map(({ code }) => code)).toEqual(['SOURCE_NOT_FOUND', 'SOURCE_REFUSED']);
  });

  it('keeps what it holds while the credentials of the storage change', async () => {
    send(0, 'a', 'b');
    await using queue = await opened({}, signatureFor('rlwc'));
    const claims = await queue.claim();

    queue.enterStorageWith(azurite.connectionString);

    expect(await queue.claim()).toEqual([]);
    await queue.acknowledge(named(claims, 'a'));
    expect(await checkpoint(0)).toEqual({ sequencenumber: '0', offset: '0' });
  });

  it('goes on over a new connection after the server was restarted, and loses nothing', async () => {
    await using server = await startEventHubs();
    server.create(hub);
    server.send(hub, 0, { body: 'a' }, { body: 'b' });
    await using queue = await opened({}, undefined, server.connectionString);
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
