import type { IncomingMessage, ServerResponse } from 'node:http';
import { type StubEntity, startServiceBus } from '../../test/service-bus.ts';
import { startVmApi, type VmApi } from './vm-api.ts';

const queueName = 'vm-actions';

/** A queue of Service Bus and the API of virtual machines. */
export interface VmCloud extends AsyncDisposable {
  readonly api: VmApi;
  readonly queue: StubEntity;
  /** How many messages came a second time, and were dropped for it. */
  readonly duplicates: number;
  /** Puts a message on the queue, as the scheduler does over HTTP. */
  put(body: string): void;
  /** The Secret and the ConfigMap that the manifest refers to, with such a schedule. */
  manifests(schedule: unknown): string;
}

/** Starts both on loopback ports. */
export async function startVmCloud(machines: readonly string[], operationMs: number): Promise<VmCloud> {
  const bus = await startServiceBus();
  const api = await startVmApi({ machines, operationMs });
  const queue = bus.addQueue(queueName);
  const seen = new Set<string>();
  let duplicates = 0;

  /** Service Bus's "Send Message" over HTTP, with the detection of duplicates that a queue may have. */
  async function take(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk as Buffer);
    const refusal = bus.wrongSignature(req.headers.authorization ?? '', `/${queueName}/messages`);
    if (refusal !== undefined) {
      res.writeHead(401).end(refusal);
      return;
    }
    const { MessageId: id } = JSON.parse(String(req.headers['brokerproperties'])) as { MessageId: string };
    if (seen.has(id)) duplicates += 1;
    else bus.send(queue, Buffer.concat(chunks), id);
    seen.add(id);
    res.writeHead(201).end();
  }

  bus.intercept = (req, res) => {
    if (req.method !== 'POST' || req.url !== `/${queueName}/messages`) return false;
    void take(req, res);
    return true;
  };
  return {
    api,
    queue,
    get duplicates() {
      return duplicates;
    },
    put: body => void bus.send(queue, Buffer.from(body)),
    manifests: schedule => `apiVersion: v1
kind: Secret
metadata:
  name: vm-schedule
stringData:
  serviceBus: ${JSON.stringify(bus.connectionString())}
  endpoint: ${JSON.stringify(api.endpoint)}
  token: ${JSON.stringify(api.token)}
  subscription: ${JSON.stringify(api.subscription)}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: vm-schedule
data:
  machines: ${JSON.stringify(JSON.stringify(schedule))}
`,
    async [Symbol.asyncDispose]() {
      await api[Symbol.asyncDispose]();
      await bus[Symbol.asyncDispose]();
    },
  };
}
