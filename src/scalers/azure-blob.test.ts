import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlobServiceClient } from '@azure/storage-blob';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Azurite, startAzurite } from '../../test/azurite.ts';
import { bind, mustBind, readOnce, scalerContract } from '../../test/scaler-contract.ts';
import scaler from './azure-blob.ts';

const read = (params: Record<string, string>, connection: string) =>
  readOnce(mustBind(scaler, { params, auth: { connection } }));

let azurite: Azurite;
const blobContainerName = `c-${randomUUID()}`;

beforeAll(async () => {
  azurite = await startAzurite();
  const container = BlobServiceClient.fromConnectionString(azurite.connectionString).getContainerClient(
    blobContainerName,
  );
  await container.create();
  const names = [
    'top.json',
    'other.txt',
    'in/one.json',
    'in/two.json',
    'in/note & <draft>.txt',
    'in/deep/three.json',
    'in/deep/er/four.json',
    'input.json',
    'ключ 日本.json',
  ];
  for (const name of names) await container.getBlockBlobClient(name).upload('x', 1);
});

afterAll(() => azurite.stop());

describe('counting blobs', () => {
  it.each([
    ['those at the top, not those in folders', {}, 4],
    ['those of one folder', { blobPrefix: 'in' }, 3],
    ['those of a folder below a folder', { blobPrefix: 'in/deep' }, 1],
    ['none where there are none', { blobPrefix: 'nowhere' }, 0],
    ['all of them', { recursive: 'true' }, 9],
    ['all whose name begins so', { recursive: 'true', blobPrefix: 'in' }, 6],
    ['by another delimiter', { blobPrefix: 'in/two', blobDelimiter: '.' }, 1],
    ['all that match, folders or not', { globPattern: '*.json' }, 7],
    ['what matches a path', { globPattern: '/in/*.json' }, 4],
    ['what matches and begins with the prefix', { globPattern: '**', blobPrefix: 'in' }, 5],
    ['names with signs that XML escapes', { globPattern: '*& <draft>*' }, 1],
    ['names beyond ASCII', { globPattern: 'ключ ??.json' }, 1],
  ])('counts %s', async (_title, metadata, expected) => {
    const count = await read({ blobContainerName, ...metadata }, azurite.connectionString);

    expect(count).toBe(expected);
  });

  it('takes a connection string where KEDA takes one, too, instead of the name of a variable', async () => {
    const params = { blobContainerName, connectionFromEnv: azurite.connectionString };

    expect(await readOnce(mustBind(scaler, { params }))).toBe(4);
  });

  it('names the container that is missing', async () => {
    const work = read({ blobContainerName: 'nowhere' }, azurite.connectionString);

    await expect(work).rejects.toMatchObject({
      code: 'SOURCE_NOT_FOUND',
      message: expect.stringMatching(/devstoreaccount1\/nowhere answered 404: ContainerNotFound/),
    });
  });

  it('says that the key is wrong', async () => {
    const wrong = azurite.connectionString.replace(/AccountKey=[^;]+/, 'AccountKey=d3Jvbmc=');

    await expect(read({ blobContainerName }, wrong)).rejects.toMatchObject({ code: 'SOURCE_REFUSED' });
  });

  it('goes on from page to page', async () => {
    await using azure = await listing(marker => (marker === '6' ? '' : String(Number(marker) + 1)));

    const count = await read({ blobContainerName }, azure.connectionString);

    expect(count).toBe(14);
    expect(azure.markers).toEqual(['', '1', '2', '3', '4', '5', '6']);
  });

  it('gives up on a container without end', async () => {
    await using azure = await listing(marker => String(Number(marker) + 1));

    const work = read({ blobContainerName }, azure.connectionString);

    await expect(work).rejects.toMatchObject({ code: 'SOURCE_ANSWER_TOO_LARGE' });
    expect(azure.markers).toHaveLength(250);
  });

  it('does not take half an answer for a count', async () => {
    await using azure = await listing(() => '', '<?xml version="1.0"?><EnumerationResults><Blobs><Blob>');

    const work = read({ blobContainerName }, azure.connectionString);

    await expect(work).rejects.toMatchObject({ code: 'SOURCE_ANSWER_INVALID' });
  });
});

scalerContract(scaler, {
  async serve() {
    const dataDir = await mkdtemp(join(tmpdir(), 'azurite-'));
    const own = await startAzurite({ dataDir });
    const container = BlobServiceClient.fromConnectionString(own.connectionString).getContainerClient(
      'pictures',
    );
    await container.create();
    return {
      auth: { connection: own.connectionString },
      async fill(count) {
        for (let index = 0; index < count; index += 1) {
          await container.getBlockBlobClient(`blob-${index}`).upload('x', 1);
        }
      },
      stop: () => own.stop(),
      restart: () => own.restart(),
      async [Symbol.asyncDispose]() {
        await own.stop();
        await rm(dataDir, { recursive: true });
      },
    };
  },
  params: { blobContainerName: 'pictures' },
  alsoRequired: ['connection'],
  expect: 3,
  wrong: ({ auth: { connection = '' } = {} }) => ({
    auth: { connection: connection.replace(/AccountKey=[^;]+/, 'AccountKey=d3Jvbmc=') },
  }),
  missing: () => ({ params: { blobContainerName: 'nowhere' } }),
  cannot: { numbers: 'it counts names, and is told no number' },
  at: ({ url }) => ({
    auth: { connection: `BlobEndpoint=${url}/mine;AccountName=mine;AccountKey=c2VjcmV0IGtleQ==` },
  }),
});

describe('parameters', () => {
  it('refuses a pattern that gobwas refuses', () => {
    const binding = bind(scaler, {
      params: { blobContainerName, globPattern: String.raw`[\]` },
      auth: { connection: 'x' },
    });

    expect(binding).toMatchObject({
      ok: false,
      problems: [
        { problem: expect.stringContaining('not closed'), place: { field: 'metadata.globPattern' } },
      ],
    });
  });

  it('has KEDA’s metric name and default target', () => {
    const binding = bind(scaler, { params: { blobContainerName: 'sample' }, auth: { connection: 'x' } });

    expect(binding).toMatchObject({
      ok: true,
      bound: { metricName: 's0-azure-blob-sample', target: { value: 5 }, activation: 0 },
    });
  });
});

/** A server that lists two blobs a page, for what a real one does only from 5,000 blobs on. */
async function listing(nextMarker: (marker: string) => string, body?: string) {
  const markers: string[] = [];
  const server = createServer((request, response) => {
    const marker = new URL(request.url ?? '', 'http://x').searchParams.get('marker') ?? '';
    markers.push(marker);
    const blobs = '<Blob><Name>a</Name></Blob><Blob><Name>b</Name></Blob>';
    response.end(
      body ??
        `\uFEFF<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="c"><Blobs>${blobs}</Blobs><NextMarker>${nextMarker(marker)}</NextMarker></EnumerationResults>`,
    );
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    markers,
    connectionString: `BlobEndpoint=http://127.0.0.1:${port}/mine;AccountName=mine;AccountKey=a2V5`,
    [Symbol.asyncDispose]: () =>
      new Promise<void>(resolve => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
