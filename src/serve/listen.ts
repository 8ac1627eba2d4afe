import { constants } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { createSecureServer, type Http2SecureServer, type ServerHttp2Session } from 'node:http2';
import { type AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Identity } from '../base/x509.ts';
import { exchange, type Incoming } from './exchange.ts';
import type { Handler, Peer } from './handler.ts';
import { peerOf } from './peer.ts';

export interface Listening extends AsyncDisposable {
  port: number;
}

interface ListenOptions {
  host: string;
  /** 0 for any free one. */
  port: number;
  handler: Handler;
  /** How many bytes of body are read; more is answered with 413. 1 MiB unless given. */
  bodyLimit?: number;
}

const oneMiB = 1024 * 1024;

// The other side of a connection is an API server or a scraper: there are few, and they keep their connections.
const maxConnections = 1000;

const headersTimeoutMs = 10_000;
const requestTimeoutMs = 60_000;

/** Longer than Go's clients keep an idle connection, so that it is they who close it, and never while they send. */
const idleTimeoutMs = 120_000;

/** How long requests under way may take to finish once the server is to close. */
const graceMs = 5_000;

/**
 * Binds a handler to a port of the loopback interface. Requests for another host name are refused, so that a
 * page in a browser cannot reach it through a name of its own.
 *
 * @param port 0 for any free one
 * @throws the system's error where the port is taken
 */
export function listenOnLoopback(handler: Handler, port = 0): Promise<Listening> {
  return listen({
    host: '127.0.0.1',
    port,
    handler: request =>
      /^(127\.0\.0\.1|localhost)(:\d+)?$/.test(String(request.headers['host'] ?? ''))
        ? handler(request)
        : { status: 421 },
  });
}

/**
 * Binds a handler to a port, without TLS.
 *
 * @throws the system's error where the port is taken
 */
export async function listen({ host, port, handler, bodyLimit = oneMiB }: ListenOptions): Promise<Listening> {
  let closing = false;
  const server = createServer((incoming, outgoing) => {
    void exchange({ handler, incoming, outgoing, bodyLimit, closing });
  });
  server.keepAliveTimeout = idleTimeoutMs;
  watchOver(server);
  await bind(server, host, port);
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      closing = true;
      await finish(server, () => server.closeAllConnections());
    },
  };
}

export interface ListenTlsOptions extends ListenOptions {
  /** Asked at the start and at each reload. */
  certificate(): Identity;
  /** The authorities (PEM) whose clients are believed; clients are asked for a certificate only where it is given. */
  clientCas?(): readonly string[];
}

export interface ListeningTls extends Listening {
  /**
   * Takes certificate and authorities anew. Connections that are open stay open; those that come now see the new
   * certificate. Only clients whose certificate nobody vouched for are asked to come again, as now somebody may.
   *
   * @throws where the certificate cannot be read or the key is not its own: what was used before stays
   */
  reload(): void;
}

/**
 * Binds a handler to a port with TLS 1.2 or newer, for HTTP/2 and HTTP/1.1. A client without a certificate, or with
 * one that nobody trusted vouches for, is let in as nobody: the handler decides what that means.
 *
 * @throws the system's error where the port is taken or the certificate cannot be used
 */
export async function listenTls(options: ListenTlsOptions): Promise<ListeningTls> {
  const { host, port, handler, bodyLimit = oneMiB } = options;
  const connections = new Connections();
  const server = createSecureServer(
    {
      ...secureContext(options),
      allowHTTP1: true,
      requestCert: options.clientCas !== undefined,
      rejectUnauthorized: false,
      handshakeTimeout: headersTimeoutMs,
      settings: { maxConcurrentStreams: 250 },
    },
    (incoming, outgoing) => {
      const { peer, outdated } = connections.get(incoming);
      const closing = outdated || connections.closing;
      void exchange({ handler, incoming, outgoing, bodyLimit, peer, closing });
    },
  );
  Object.assign(server, { keepAliveTimeout: idleTimeoutMs });
  watchOver(server);
  connections.watch(server);
  await bind(server, host, port);
  return {
    port: (server.address() as AddressInfo).port,
    reload() {
      server.setSecureContext(secureContext(options));
      connections.doubtStrangers();
    },
    async [Symbol.asyncDispose]() {
      connections.close();
      await finish(server, () => connections.destroy());
    },
  };
}

function secureContext({ certificate, clientCas }: ListenTlsOptions) {
  const { cert, key } = certificate();
  return {
    cert,
    key: key.reveal(),
    // An empty list trusts nobody; no list would trust every public authority.
    ca: [...(clientCas?.() ?? [])],
    minVersion: 'TLSv1.2' as const,
    // A resumed session would bring back what an earlier handshake believed of the client.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}

/** Looked up once for a connection: reading a certificate takes longer than answering. */
interface Connection {
  peer: Peer | undefined;
  /** Whether it is to end with its next answer. */
  outdated: boolean;
}

const nobody: Connection = { peer: undefined, outdated: true };

/** The open connections of a server for TLS, and who is at their other ends. */
class Connections {
  closing = false;
  readonly #sockets = new Set<Socket>();
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #known = new WeakMap<object, Connection>();

  watch(server: Http2SecureServer): void {
    server.on('secureConnection', (socket: TLSSocket) => {
      this.#sockets.add(socket);
      this.#known.set(socket, { peer: peerOf(socket), outdated: false });
      socket.once('close', () => this.#sockets.delete(socket));
      socket.on('error', () => socket.destroy());
    });
    server.on('session', session => {
      this.#sessions.add(session);
      this.#known.set(session, { peer: peerOf(session.socket as TLSSocket), outdated: false });
      session.once('close', () => this.#sessions.delete(session));
      session.on('error', () => session.destroy());
      session.setTimeout(idleTimeoutMs, () => session.close());
    });
  }

  get(incoming: Incoming): Connection {
    const holder = ('stream' in incoming ? incoming.stream.session : undefined) ?? incoming.socket;
    return this.#known.get(holder) ?? nobody;
  }

  /** Has clients that were not believed connect anew: what a handshake found out cannot be found out again. */
  doubtStrangers(): void {
    for (const holder of [...this.#sessions, ...this.#sockets]) {
      const known = this.#known.get(holder);
      if (known?.peer?.chain.length !== 0) continue;
      known.outdated = true;
      if (!(holder instanceof Socket)) holder.close();
    }
  }

  /** Tells every client of HTTP/2 to send nothing new; what is under way is finished. */
  close(): void {
    this.closing = true;
    for (const session of this.#sessions) session.close();
  }

  destroy(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

function watchOver(server: Server | Http2SecureServer): void {
  Object.assign(server, { headersTimeout: headersTimeoutMs, requestTimeout: requestTimeoutMs });
  server.maxConnections = maxConnections;
}

function bind(server: Server | Http2SecureServer, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Ends when every connection is closed: idle ones at once, the others with their answer, all after a while. */
async function finish(server: Server | Http2SecureServer, destroyAll: () => void): Promise<void> {
  const timer = setTimeout(destroyAll, graceMs);
  await new Promise<void>(resolve => server.close(() => resolve()));
  clearTimeout(timer);
}
