import { BlobServiceClient } from '@azure/storage-blob';
import { startAzurite } from '../../test/azurite.ts';
import { startEventHubs } from '../../test/event-hubs.ts';
import { writeWholeLists } from './whole-lists.ts';

const partitions = 5;

/** An event hub and a storage account, with what happened in them. */
export interface CrawlerCloud extends AsyncDisposable {
  /** The Secret that the manifest refers to. */
  secret: string;
  /** Sends one event for each of the sites, spread over the partitions. */
  sendSites(addresses: readonly string[]): void;
  /** Sends events that are nobody's work. */
  sendOthers(count: number): void;
  /** Addresses of the pages that were stored for each site, by the name of its blob. */
  stored(): Promise<Map<string, string[]>>;
  /** How many events no checkpoint is beyond. */
  unprocessed(): Promise<number>;
}

/** Starts a stand-in for Event Hubs, and Azurite, on loopback ports. */
export async function startCrawlerCloud(): Promise<CrawlerCloud> {
  writeWholeLists();
  const azurite = await startAzurite();
  const hubs = await startEventHubs();
  hubs.create('sites', partitions);
  const blobs = BlobServiceClient.fromConnectionString(azurite.connectionString);
  const pages = blobs.getContainerClient('pages');
  const checkpoints = blobs.getContainerClient('checkpoints');
  await Promise.all([pages.create(), checkpoints.create()]);
  let sent = 0;

  function send(kind: string, body: unknown): void {
    hubs.send('sites', sent % partitions, { body, properties: { kind } });
    sent += 1;
  }

  return {
    secret: secretManifest(hubs.connectionString, azurite.connectionString),
    sendSites(addresses) {
      for (const site of addresses) send('site', { site });
    },
    sendOthers(count) {
      for (let index = 0; index < count; index += 1) send('visit', { visitor: index });
    },
    async stored() {
      const found = new Map<string, string[]>();
      for await (const { name } of pages.listBlobsFlat()) {
        const text = (await pages.getBlobClient(name).downloadToBuffer()).toString();
        found.set(name, Object.keys(JSON.parse(text) as Record<string, unknown>));
      }
      return found;
    },
    async unprocessed() {
      let done = 0;
      for await (const { name, metadata } of checkpoints.listBlobsFlat({ includeMetadata: true })) {
        if (name.includes('/checkpoint/')) done += Number(metadata?.['sequencenumber']) + 1;
      }
      return sent - done;
    },
    async [Symbol.asyncDispose]() {
      await hubs.stop();
      await azurite.stop();
    },
  };
}

function secretManifest(connection: string, storageConnection: string): string {
  return `apiVersion: v1
kind: Secret
metadata:
  name: sites
stringData:
  connection: ${JSON.stringify(connection)}
  storageConnection: ${JSON.stringify(storageConnection)}
`;
}
