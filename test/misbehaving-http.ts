import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { createServer as createTcpServer } from 'node:net';

/** A server on 127.0.0.1 whose conduct can be changed while it runs. */
export interface TestServer extends AsyncDisposable {
  host: string;
  port: number;
  /** `http://host:port` */
  url: string;
  /** Connections that are open now. */
  openSockets(): number;
  /** Connections and requests so far. */
  seen(): { connections: number; requests: number };
  /** Cuts every connection and listens no more. */
  stop(): Promise<void>;
  /** Listens again where it did. */
  restart(): Promise<void>;
}

/** Serves with `answer`, which may answer, stay silent or hang up. */
export async function httpServer(answer: RequestListener): Promise<TestServer> {
  let requests = 0;
  const server = createServer((req, res) => {
    requests += 1;
    answer(req, res);
  });
  // Kept open until the other side closes: a connection that is left behind must show.
  server.keepAliveTimeout = 0;
  return started(server, () => requests);
}

/** Talks to each connection as `talk` says, with no protocol of its own. */
export async function tcpServer(talk: (socket: Socket) => void): Promise<TestServer> {
  return started(createTcpServer(talk), () => 0);
}

async function started(
  server: ReturnType<typeof createTcpServer>,
  requests: () => number,
): Promise<TestServer> {
  const sockets = new Set<Socket>();
  let connections = 0;
  server.on('connection', (socket: Socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  const listen = (at: number) => new Promise<void>(resolve => server.listen(at, '127.0.0.1', resolve));
  async function stop(): Promise<void> {
    for (const socket of sockets) socket.destroy();
    if (server.listening) await new Promise(resolve => server.close(resolve));
  }
  await listen(0);
  const { port } = server.address() as AddressInfo;
  return {
    host: '127.0.0.1',
    port,
    url: `http://127.0.0.1:${port}`,
    openSockets: () => sockets.size,
    seen: () => ({ connections, requests: requests() }),
    stop,
    restart: () => listen(port),
    [Symbol.asyncDispose]: stop,
  };
}

/** A port of 127.0.0.1 that nothing listens on. */
export async function closedPort(): Promise<number> {
  const server = await tcpServer(() => {});
  await server[Symbol.asyncDispose]();
  return server.port;
}

/** Answers as a careless server does: with everything it was sent, secrets and all. */
export function quoting(status: number, headers: Record<string, string> = {}): RequestListener {
  return (req, res) => {
    res.writeHead(status, { 'content-type': 'text/plain', ...headers });
    res.end(`${JSON.stringify(req.headers)} ${req.url}`);
  };
}

/** The same for protocols of their own, on which a server that speaks HTTP would be no more than garbage. */
export const tcpMisbehaviours = {
  silent: () => {},
  garbage: (socket: Socket) =>
    void socket.write(Buffer.from([0xff, 0xfe, 0x00, 0x7b, 0x3c, 0x25, 0x80, 0x0a])),
  hangsUp: (socket: Socket) => void socket.once('data', () => socket.destroy()),
} satisfies Record<string, (socket: Socket) => void>;

export const misbehaviours = {
  silent: (_req: IncomingMessage, _res: ServerResponse) => {},
  garbage: (_req: IncomingMessage, res: ServerResponse) => {
    res.writeHead(200, { 'content-type': 'application/json' });
    res.end(Buffer.from([0xff, 0xfe, 0x00, 0x7b, 0x3c, 0x25, 0x80, 0x0a]));
  },
  empty: (_req: IncomingMessage, res: ServerResponse) => {
    res.writeHead(200);
    res.end();
  },
  tooLarge: (_req: IncomingMessage, res: ServerResponse) => {
    res.writeHead(200, { 'content-type': 'application/json' });
    res.end(Buffer.alloc(10 * 1024 * 1024, '[1,'));
  },
  hangsUp: (_req: IncomingMessage, res: ServerResponse) => {
    res.writeHead(200, { 'content-length': '1000' });
    res.write('{"half":');
    setImmediate(() => res.destroy());
  },
} satisfies Record<string, RequestListener>;
