import { QueueServiceClient, StorageSharedKeyCredential } from '@azure/storage-queue';
import { describe, expect, it } from 'vitest';
import { Secret } from '../../base/secret.ts';
import { sharedKeyHeader } from './azure-shared-key.ts';

const key = Buffer.from('a key that opens nothing').toString('base64');

interface Sent {
  method: string;
  url: string;
  headers: Record<string, string>;
  body: string;
}

/** A request as Azure's own SDK signs it, caught before it leaves. */
async function signedBySdk(endpoint: string, call: (service: QueueServiceClient) => Promise<unknown>) {
  const sent: Sent[] = [];
  const service = new QueueServiceClient(endpoint, new StorageSharedKeyCredential('mine', key), {
    httpClient: {
      sendRequest(request) {
        const headers = request.headers.toJson();
        sent.push({ method: request.method, url: request.url, headers, body: String(request.body ?? '') });
        return Promise.reject(new Error('caught'));
      },
    },
    retryOptions: { maxTries: 1 },
  });
  await call(service).catch(() => undefined);
  if (sent[0] === undefined) throw new Error('the SDK sent nothing');
  return sent[0];
}

describe('a shared key signature', () => {
  it.each([
    [
      'a read',
      'https://mine.queue.core.windows.net',
      (s: QueueServiceClient) => s.getQueueClient('orders').getProperties(),
    ],
    [
      'a read below a path',
      'http://127.0.0.1:10001/mine',
      (s: QueueServiceClient) => s.getQueueClient('orders').getProperties(),
    ],
    [
      'a claim',
      'https://mine.queue.core.windows.net',
      (s: QueueServiceClient) =>
        s.getQueueClient('orders').receiveMessages({ numberOfMessages: 32, visibilityTimeout: 60 }),
    ],
    [
      'a body',
      'https://mine.queue.core.windows.net',
      (s: QueueServiceClient) => s.getQueueClient('orders').sendMessage('日本 <&>'),
    ],
    [
      'a receipt with signs',
      'https://mine.queue.core.windows.net',
      (s: QueueServiceClient) => s.getQueueClient('orders').deleteMessage('id', 'AgAAA+/= é'),
    ],
    [
      'no body to write',
      'https://mine.queue.core.windows.net',
      (s: QueueServiceClient) => s.getQueueClient('orders').create(),
    ],
  ])('is the one of Azure’s SDK for %s', async (_title, endpoint, call) => {
    const { method, url, headers, body } = await signedBySdk(endpoint, call);
    const { authorization, ...unsigned } = headers;

    const ours = sharedKeyHeader(
      { kind: 'key', account: 'mine', key: new Secret(key) },
      { method, url: new URL(url), headers: unsigned, contentLength: Buffer.byteLength(body) },
    );

    expect(ours).toBe(authorization);
  });
});
