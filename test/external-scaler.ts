import {
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceClientConstructor,
  type sendUnaryData,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import type { Served } from './scaler-contract.ts';

interface Ref {
  name: string;
  namespace: string;
  scalerMetadata: Record<string, string>;
}
interface Spec {
  metricName: string;
  targetSize?: number;
  targetSizeFloat?: number;
}
interface Value {
  metricName?: string;
  metricValue?: number;
  metricValueFloat?: number;
}

/** What an external scaler of a test says. */
export interface Said {
  active: boolean;
  specs: Spec[];
  values: Value[];
  /** Answered instead of a value. */
  failure?: { code: number; details: string };
}

/** An external scaler in TypeScript, with what it was asked. */
export interface ExternalServer extends Served {
  address: string;
  port: number;
  said: Said;
  asked: { method: string; ref: Ref; metricName?: string }[];
  /** Tells all who listen. */
  tellActive(active: boolean): void;
  tellSpecs(specs: Spec[]): void;
  /** How many streams of this method are open. */
  streams(method: string): number;
  /** Stops serving, and cuts every connection. */
  stop(): Promise<void>;
  /** Serves again at the same port. */
  restart(): Promise<void>;
}

/** Starts an external scaler. Without `specStream` it does not have StreamMetricSpec, as most do not. */
export async function startExternal(
  said: Partial<Said> = {},
  { credentials = ServerCredentials.createInsecure(), specStream = false } = {},
): Promise<ExternalServer> {
  const proto = loadSync(new URL('../docs/external-scaler.proto', import.meta.url).pathname, {
    longs: Number,
    defaults: true,
  });
  const { ExternalScaler } = loadPackageDefinition(proto)['externalscaler'] as unknown as {
    ExternalScaler: ServiceClientConstructor;
  };
  const open = new Map<string, Set<ServerWritableStream<Ref, object>>>();
  const now: Said = { active: true, specs: [{ metricName: 'orders', targetSize: 5 }], values: [], ...said };
  const asked: ExternalServer['asked'] = [];
  const answer =
    <Q extends object>(method: string, refOf: (request: Q) => Ref, of: (request: Q) => object) =>
    (call: ServerUnaryCall<Q, object>, done: sendUnaryData<object>) => {
      const { metricName } = call.request as { metricName?: string };
      asked.push({ method, ref: refOf(call.request), ...(metricName === undefined ? {} : { metricName }) });
      if (now.failure !== undefined && method === 'GetMetrics') done(now.failure);
      else done(null, of(call.request));
    };
  const stream =
    (method: string, first: () => object) =>
    (call: ServerWritableStream<Ref, object>): void => {
      asked.push({ method, ref: call.request });
      const all = open.get(method) ?? new Set();
      open.set(method, all.add(call));
      call.on('cancelled', () => all.delete(call));
      call.write(first());
    };
  const own = (ref: Ref) => ref;
  const specs = () => ({ metricSpecs: now.specs });
  const methods = {
    IsActive: answer('IsActive', own, () => ({ result: now.active })),
    GetMetricSpec: answer('GetMetricSpec', own, specs),
    GetMetrics: answer(
      'GetMetrics',
      (request: { scaledObjectRef: Ref }) => request.scaledObjectRef,
      () => ({ metricValues: now.values }),
    ),
    StreamIsActive: stream('StreamIsActive', () => ({ result: now.active })),
    ...(specStream ? { StreamMetricSpec: stream('StreamMetricSpec', specs) } : {}),
  };
  async function serve(port: number): Promise<{ server: Server; port: number }> {
    const server = new Server();
    server.addService(ExternalScaler.service, methods);
    const bound = await new Promise<number>((resolve, reject) =>
      server.bindAsync(`127.0.0.1:${port}`, credentials, (error, at) =>
        error === null ? resolve(at) : reject(error),
      ),
    );
    return { server, port: bound };
  }
  let serving = await serve(0);
  const { port } = serving;
  const address = `127.0.0.1:${port}`;
  return {
    address,
    port,
    said: now,
    asked,
    params: { scalerAddress: address },
    async fill(count) {
      now.values = [{ metricValue: count }];
    },
    tellActive(active) {
      now.active = active;
      for (const call of open.get('StreamIsActive') ?? []) call.write({ result: active });
    },
    tellSpecs(next) {
      now.specs = next;
      for (const call of open.get('StreamMetricSpec') ?? []) call.write({ metricSpecs: next });
    },
    streams: method => open.get(method)?.size ?? 0,
    async stop() {
      serving.server.forceShutdown();
      for (const calls of open.values()) calls.clear();
    },
    async restart() {
      serving = await serve(port);
    },
    async [Symbol.asyncDispose]() {
      serving.server.forceShutdown();
    },
  };
}
