import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import type { Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

/** What is used of Azurite's servers. They are reached by deep paths, so the version is pinned exactly. */
interface AzuriteServer {
  readonly httpServer: Server;
  start(): Promise<void>;
  close(): Promise<void>;
}

interface StoredMessage {
  queueName: string;
  /** Epoch milliseconds. */
  timeNextVisible: number;
}

/** Where the queue server keeps its messages. */
interface MessageStore {
  db: {
    getCollection(name: '$MESSAGES_COLLECTION$'): {
      find(query: Partial<StoredMessage>): StoredMessage[];
      update(message: StoredMessage): void;
    };
  };
}

interface AzuriteModules<Name extends string> {
  server: new (configuration: unknown) => AzuriteServer;
  configuration: new (...options: unknown[]) => unknown;
  name: Name;
}

const require = createRequire(import.meta.url);

function modules<Name extends 'Queue' | 'Blob'>(name: Name): AzuriteModules<Name> {
  const path = `azurite/dist/src/${name.toLowerCase()}/${name}`;
  return {
    name,
    server: require(`${path}Server.js`).default,
    configuration: require(`${path}Configuration.js`).default,
  };
}

/** The account and key every Azurite has; published in its documentation. */
export const azuriteAccount = {
  name: 'devstoreaccount1',
  key: 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==',
} as const;

export interface AzuritePorts {
  queue: number;
  blob: number;
}

/** A running Azurite. Another process starts it again with the same data by `startAzurite({ dataDir, ports })`. */
export interface Azurite extends AsyncDisposable {
  readonly connectionString: string;
  readonly ports: AzuritePorts;
  /** As if so much time had gone by that every message of the queue is visible. */
  showMessages(queueName: string): void;
  /** Resolves once both ports are free again; a second call does nothing. */
  stop(): Promise<void>;
  /** Starts both again, on the same ports; what was in memory is gone. */
  restart(): Promise<void>;
}

interface AzuriteOptions {
  /** Keeps the data in this folder; in memory, and gone with the stop, unless given. */
  dataDir?: string;
  /** Free ones unless given. */
  ports?: AzuritePorts;
}

/** Starts the queue and the blob service of Azurite in this process, on 127.0.0.1. */
export async function startAzurite({ dataDir, ports }: AzuriteOptions = {}): Promise<Azurite> {
  if (dataDir !== undefined) await mkdir(dataDir, { recursive: true });
  const start = (at: AzuritePorts) =>
    Promise.all([
      startServer(modules('Queue'), at.queue, dataDir),
      startServer(modules('Blob'), at.blob, dataDir),
    ]);
  let [queue, blob] = await start(ports ?? { queue: 0, blob: 0 });
  const bound = { queue: portOf(queue), blob: portOf(blob) };
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= Promise.all([stopServer(queue), stopServer(blob)]).then(() => undefined);
    return stopping;
  };
  return {
    ports: bound,
    connectionString: [
      'DefaultEndpointsProtocol=http',
      `AccountName=${azuriteAccount.name}`,
      `AccountKey=${azuriteAccount.key}`,
      `QueueEndpoint=http://127.0.0.1:${bound.queue}/${azuriteAccount.name}`,
      `BlobEndpoint=http://127.0.0.1:${bound.blob}/${azuriteAccount.name}`,
    ].join(';'),
    showMessages(queueName) {
      const { db } = (queue as unknown as { metadataStore: MessageStore }).metadataStore;
      const messages = db.getCollection('$MESSAGES_COLLECTION$');
      for (const message of messages.find({ queueName })) {
        messages.update({ ...message, timeNextVisible: Date.now() });
      }
    },
    stop,
    async restart() {
      await stop();
      [queue, blob] = await start(bound);
      stopping = undefined;
    },
    [Symbol.asyncDispose]: stop,
  };
}

async function startServer(
  { name, server: Server, configuration: Configuration }: AzuriteModules<string>,
  port: number,
  dataDir: string | undefined,
): Promise<AzuriteServer> {
  const file = (part: string) => (dataDir === undefined ? '' : join(dataDir, `${name.toLowerCase()}${part}`));
  const extents =
    dataDir === undefined
      ? []
      : [{ locationId: 'Default', locationPath: file('-extents'), maxConcurrency: 50 }];
  const server = new Server(
    new Configuration(
      '127.0.0.1',
      port,
      5,
      file('.json'),
      file('-extents.json'),
      extents,
      false,
      undefined,
      false,
      undefined,
      false,
      // A newer SDK may ask for a version that this Azurite has not heard of.
      true,
      '',
      '',
      '',
      undefined,
      false,
      dataDir === undefined,
    ),
  );
  await server.start();
  return server;
}

const portOf = (server: AzuriteServer) => (server.httpServer.address() as AddressInfo).port;

async function stopServer(server: AzuriteServer): Promise<void> {
  const closed = once(server.httpServer, 'close');
  await server.close();
  server.httpServer.closeAllConnections();
  await closed;
}
