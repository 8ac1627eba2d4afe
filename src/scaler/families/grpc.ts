import type { Socket } from 'node:net';
import { createSecureContext } from 'node:tls';
import type { ChannelCredentials, Client, ClientOptions, ServiceError } from '@grpc/grpc-js';
import { Fault, type FaultCode } from '../../base/errors.ts';
import { networkFault } from '../../base/http.ts';
import { type TlsOptions, tlsSettings } from '../../base/tls.ts';
import type { OpenContext } from '../context.ts';
import { requireUsableTls } from './http-auth.ts';

/** A question to a method of a service: `/package.Service/Method` with the bytes of its message. */
export interface GrpcRequest {
  path: string;
  message: Buffer;
}

/** A channel to one address; connects on first use. */
export interface GrpcChannel extends AsyncDisposable {
  /** @throws Fault of the source; the sentence holds what the server says of it */
  ask(request: GrpcRequest, signal: AbortSignal): Promise<Buffer>;
  /**
   * The messages of a stream as they come; ends when the server ends it.
   *
   * @throws as `ask` does
   */
  listen(request: GrpcRequest, signal: AbortSignal): AsyncGenerator<Buffer, void>;
}

/** Where a channel leads. Without `tls` nothing is encrypted. */
export interface GrpcAddress {
  /** As gRPC has it: `host:port`, or with a scheme such as `dns:///host:port`. */
  address: string;
  tls: TlsOptions | undefined;
}

/** What a server says of an error is cut to this many characters. */
const longestDetails = 300;
/**
 * Milliseconds between the pings that find out whether a peer is still there while a stream is open. Servers in Go
 * hang up on who pings more often than every five minutes.
 */
const keepAliveMs = 360_000;

/**
 * Opens a channel; all addresses behind a name get their share of the questions.
 *
 * @throws Fault PARAM_INVALID where the TLS certificates cannot be read
 */
export async function openGrpc(where: GrpcAddress, { clientName, http }: OpenContext): Promise<GrpcChannel> {
  // From a bundle a CommonJS package has but its default.
  const { Client, credentials, status } = (await import('@grpc/grpc-js')).default;
  const options: ClientOptions = {
    'grpc.primary_user_agent': clientName,
    'grpc.service_config': '{"loadBalancingConfig":[{"round_robin":{}}]}',
    // A server's own wishes by DNS TXT records would be a query more for each name.
    'grpc.service_config_disable_resolution': 1,
    'grpc.enable_channelz': 0,
    // Shared with others it would go on for a while after this channel is closed.
    'grpc.use_local_subchannel_pool': 1,
    'grpc.keepalive_time_ms': keepAliveMs,
  };
  const sockets = new Set<Socket>();
  const client = new Client(where.address, followed(credentialsOf(), sockets), options);
  const codes: ReadonlyMap<number, FaultCode> = new Map([
    [status.UNAVAILABLE, 'SOURCE_UNREACHABLE'],
    [status.DEADLINE_EXCEEDED, 'SOURCE_TIMEOUT'],
    [status.UNAUTHENTICATED, 'SOURCE_REFUSED'],
    [status.PERMISSION_DENIED, 'SOURCE_REFUSED'],
    [status.NOT_FOUND, 'SOURCE_NOT_FOUND'],
    [status.RESOURCE_EXHAUSTED, 'SOURCE_BUSY'],
    [status.UNIMPLEMENTED, 'NOT_SUPPORTED'],
  ]);

  function credentialsOf() {
    if (where.tls === undefined) return credentials.createInsecure();
    requireUsableTls(where.tls);
    const { rejectUnauthorized, ...settings } = tlsSettings(where.tls, http);
    const unverified = rejectUnauthorized === false ? { rejectUnauthorized } : {};
    return credentials.createFromSecureContext(createSecureContext(settings), unverified);
  }

  function faultFor(thrown: unknown, path: string, signal: AbortSignal): Fault {
    const error = thrown as Partial<ServiceError>;
    if (signal.aborted || error.code === undefined) return networkFault(thrown, where.address, signal);
    const details = plainWords(error.details ?? '');
    return faultOfStatus({ code: codes.get(error.code) ?? 'SOURCE_FAILED', details, thrown }, where, path);
  }

  return {
    ask: (request, signal) => ask(client, request, { signal, faultFor }),
    listen: (request, signal) => listen(client, request, { signal, faultFor }),
    async [Symbol.asyncDispose]() {
      client.close();
      // It would wait for the answer of a peer that may never have said anything.
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Keeps a set of the connections that are made with these credentials. */
function followed(credentials: ChannelCredentials, sockets: Set<Socket>): ChannelCredentials {
  const connectorOf = credentials._createSecureConnector.bind(credentials);
  credentials._createSecureConnector = (...how) => {
    const connector = connectorOf(...how);
    const connect = connector.connect.bind(connector);
    connector.connect = socket => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      return connect(socket);
    };
    return connector;
  };
  return credentials;
}

interface Means {
  signal: AbortSignal;
  faultFor(thrown: unknown, path: string, signal: AbortSignal): Fault;
}

const asIs = (bytes: Buffer) => bytes;

function ask(client: Client, { path, message }: GrpcRequest, { signal, faultFor }: Means): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(faultFor(signal.reason, path, signal));
      return;
    }
    const call = client.makeUnaryRequest(path, asIs, asIs, message, (error, answer) => {
      signal.removeEventListener('abort', stop);
      if (error !== null) reject(faultFor(error, path, signal));
      else resolve(answer ?? Buffer.alloc(0));
    });
    const stop = () => call.cancel();
    signal.addEventListener('abort', stop, { once: true });
  });
}

async function* listen(
  client: Client,
  { path, message }: GrpcRequest,
  { signal, faultFor }: Means,
): AsyncGenerator<Buffer, void> {
  if (signal.aborted) throw faultFor(signal.reason, path, signal);
  const call = client.makeServerStreamRequest<Buffer, Buffer>(path, asIs, asIs, message);
  const stop = () => call.cancel();
  signal.addEventListener('abort', stop, { once: true });
  try {
    for await (const each of call) yield each as Buffer;
  } catch (thrown) {
    throw faultFor(thrown, path, signal);
  } finally {
    signal.removeEventListener('abort', stop);
    call.cancel();
  }
}

/** Without the client's own way of putting errors into one another. */
function plainWords(details: string): string {
  const words = details
    .replace(/^(round_robin: )?(No connection established\. Last error: )+(Error: )?/, '')
    .replace(/( \(\d{4}-[\d:.TZ-]+\))?\.? Resolution note: $/, '')
    .replace(/\s+/g, ' ');
  return words.slice(0, longestDetails);
}

/** What a status means; some are made by the client itself, and tell only by their words what happened. */
function faultOfStatus(
  { code, details, thrown }: { code: FaultCode; details: string; thrown: unknown },
  { address }: GrpcAddress,
  path: string,
): Fault {
  const method = path.slice(path.lastIndexOf('/') + 1);
  const cause = { cause: thrown };
  if (code === 'SOURCE_UNREACHABLE') {
    if (/protocol error|ERR_HTTP2|HTTP\/1/i.test(details)) {
      return new Fault('SOURCE_ANSWER_INVALID', `${address} does not speak gRPC`, cause);
    }
    return new Fault(code, `${address} cannot be reached: ${details}`, cause);
  }
  if (code === 'SOURCE_BUSY' && /larger than max/i.test(details)) {
    return new Fault('SOURCE_ANSWER_TOO_LARGE', `${address}: the answer to ${method} is too large`, cause);
  }
  if (code === 'NOT_SUPPORTED') return new Fault(code, `${address} has no method ${method}`, cause);
  return new Fault(code, `${address} answered ${method} with an error: ${details}`, cause);
}
