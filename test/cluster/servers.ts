/** Servers of the test process: a source of metrics, and what an API server calls through a Service. */
import { once } from 'node:events';
import { createServer as createHttpServer, type RequestListener, type ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo, Server, Socket } from 'node:net';
import type { Cluster } from './bed.ts';
import { makeCertificate } from './credentials.ts';

/** A server on 127.0.0.1. */
interface Running extends AsyncDisposable {
  port: number;
}

/** How a Prometheus may behave: `hang` never answers, `refuse` takes no connections. */
export type Conduct = 'answer' | 'hang' | 'refuse' | 'garbage';

/** Stands for a Prometheus: answers instant queries, whatever they say, with the value set for them. */
export interface PrometheusServer extends AsyncDisposable {
  /** To be used as `serverAddress`; the same for as long as it is there. */
  readonly url: string;
  /** Queries and connections so far. */
  readonly seen: { requests: number; connections: number };
  /** The value of a query, or of all that have none of their own; no series when undefined, and at first. */
  set(value: number | undefined, query?: string): void;
  /** Resolves when it behaves so; connections that are open are cut. */
  behave(conduct: Conduct): Promise<void>;
}

export async function prometheusServer(): Promise<PrometheusServer> {
  const values = new Map<string | undefined, number | undefined>();
  const seen = { requests: 0, connections: 0 };
  let conduct: Conduct = 'answer';
  const serve: RequestListener = async (request, response) => {
    seen.requests += 1;
    if (conduct === 'hang') return;
    if (conduct === 'garbage') return void response.end('<html>{"status":');
    let text = new URL(request.url ?? '', 'http://prometheus').search;
    // Queries may come in the body of a form.
    for await (const chunk of request) text += chunk;
    const query = new URLSearchParams(text).get('query') ?? '';
    const value = values.has(query) ? values.get(query) : values.get(undefined);
    const result = value === undefined ? [] : [{ metric: {}, value: [Date.now() / 1000, String(value)] }];
    json(response, { status: 'success', data: { resultType: 'vector', result } });
  };
  let running = await listen(createHttpServer(serve), seen);
  const { port } = running;
  return {
    url: `http://127.0.0.1:${port}`,
    seen,
    set: (value, query) => void values.set(query, value),
    async behave(next) {
      await running[Symbol.asyncDispose]();
      conduct = next;
      if (next !== 'refuse') running = await listen(createHttpServer(serve), seen, port);
    },
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}

/** A server of this process as the API server reaches it: by the name of a Service. */
export interface ExposedServer extends Running {
  /** `clientConfig.service` of a webhook, or `service` of an APIService. */
  service: { namespace: string; name: string; port: number };
  /** What vouches for its certificate: base64 of a PEM text, as `caBundle` is. */
  caBundle: string;
}

/** Serves HTTPS behind a Service of type ExternalName that leads to this machine. */
export async function exposedServer(
  cluster: Cluster,
  { namespace, name }: { namespace: string; name: string },
  serve: RequestListener,
): Promise<ExposedServer> {
  const host = `${name}.${namespace}.svc`;
  const issuer = await makeCertificate(cluster.folder, `${host}-ca`, { commonName: host });
  const request = { commonName: host, altNames: [`DNS:${host}`], issuer };
  const { cert, key } = await makeCertificate(cluster.folder, host, request);
  const running = await listen(createServer({ cert, key }, serve));
  await expose(cluster, { namespace, name, port: running.port });
  return {
    ...running,
    service: { namespace, name, port: running.port },
    caBundle: Buffer.from(issuer.cert).toString('base64'),
  };
}

/** Makes a Service lead to a port of this machine; a caller names that port, as well as the Service. */
export async function expose(
  cluster: Cluster,
  { namespace, name, port }: { namespace: string; name: string; port: number },
): Promise<void> {
  await cluster.apply({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace, name },
    spec: { type: 'ExternalName', externalName: 'localhost', ports: [{ port }] },
  });
}

/** Serves a group of the API from this process; resolves when the API server finds it available. */
export async function aggregatedApi(
  cluster: Cluster,
  { namespace, group, version }: { namespace: string; group: string; version: string },
  serve: RequestListener,
): Promise<AsyncDisposable> {
  const name = group.replaceAll('.', '-');
  const server = await exposedServer(cluster, { namespace, name }, serve);
  const path = `/apis/apiregistration.k8s.io/v1/apiservices/${version}.${group}`;
  await cluster.apply({
    apiVersion: 'apiregistration.k8s.io/v1',
    kind: 'APIService',
    metadata: { name: `${version}.${group}` },
    spec: {
      ...{ group, version, groupPriorityMinimum: 100, versionPriority: 100 },
      ...{ service: server.service, caBundle: server.caBundle },
    },
  });
  await cluster.waitFor(path, object =>
    object?.['status']?.conditions?.some(
      ({ type, status }: { type: string; status: string }) => type === 'Available' && status === 'True',
    ),
  );
  return {
    async [Symbol.asyncDispose]() {
      await cluster.delete(path);
      await server[Symbol.asyncDispose]();
    },
  };
}

/** What one container uses, as quantities: `{ cpu: '250m', memory: '64Mi' }`. */
export type Use = Record<string, string>;

/** Stands for metrics-server: says what the pods of a cluster use. */
export interface MetricsServer extends AsyncDisposable {
  /** What each container of a namespace's pods uses from now on; not known at first, and when undefined. */
  set(namespace: string, use: Use | undefined): void;
}

/** Serves metrics.k8s.io/v1beta1 for the pods there are; its Service is in kube-system. */
export async function metricsServer(cluster: Cluster): Promise<MetricsServer> {
  const uses = new Map<string, Use>();
  const group = 'metrics.k8s.io';
  const apiVersion = `${group}/v1beta1`;
  const measured = async (namespace: string, query: string) => {
    const use = uses.get(namespace);
    const pods = use === undefined ? [] : await cluster.list(`/api/v1/namespaces/${namespace}/pods${query}`);
    return pods
      .filter(pod => pod['status'].phase === 'Running')
      .map(({ metadata: { name, labels }, spec }) => ({
        metadata: { name, namespace, labels },
        timestamp: new Date().toISOString(),
        // An autoscaler waits for a whole window after a pod has started before it believes in its cpu.
        window: '1s',
        containers: spec.containers.map((container: { name: string }) => ({
          name: container.name,
          usage: use,
        })),
      }));
  };
  const pods = { name: 'pods', singularName: '', namespaced: true, kind: 'PodMetrics', verbs: ['list'] };
  const api = await aggregatedApi(
    cluster,
    { namespace: 'kube-system', group, version: 'v1beta1' },
    async ({ url = '' }, response) => {
      const { pathname, search } = new URL(url, 'https://metrics');
      const [, namespace] =
        /^\/apis\/metrics\.k8s\.io\/v1beta1\/namespaces\/([^/]+)\/pods$/.exec(pathname) ?? [];
      if (pathname === `/apis/${apiVersion}`) {
        const list = { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: apiVersion };
        json(response, { ...list, resources: [pods] });
      } else if (namespace === undefined) {
        response.writeHead(404).end();
      } else {
        const items = await measured(namespace, search).catch(() => []);
        json(response, { kind: 'PodMetricsList', apiVersion, metadata: {}, items });
      }
    },
  );
  return {
    set(namespace, use) {
      if (use === undefined) uses.delete(namespace);
      else uses.set(namespace, use);
    },
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
}

/** Answers with a JSON document. */
export function json(response: ServerResponse, body: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** Binds a server to a port of 127.0.0.1 (0 for any) and counts its connections; disposing twice is safe. */
async function listen(server: Server, seen = { connections: 0 }, port = 0): Promise<Running> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    seen.connections += 1;
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
