import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import type { ApiOptions } from '../../test/cluster/api.ts';

export interface Load {
  requests: number;
  failed: number;
  /** Of each request that was answered, in milliseconds. */
  waits: number[];
  seconds: number;
}

interface LoadPlan {
  /** Host and port of its URL are used, and whom to ask as; without an authority it is not verified. */
  server: ApiOptions;
  /** Asked for one after the other, again and again. */
  paths: readonly string[];
  connections: number;
  forMs: number;
}

/**
 * Sends GET requests over so many connections, each with one request under way. On bare sockets: a client that
 * does more would take the processor from what is measured.
 */
export async function load({ server, paths, connections, forMs }: LoadPlan): Promise<Load> {
  const { url, ca, cert, key, token } = server;
  const { hostname, port, host } = new URL(url);
  const authorization = token === undefined ? '' : `authorization: Bearer ${token}\r\n`;
  const requests = paths.map(
    path => `GET ${path} HTTP/1.1\r\nhost: ${host}\r\naccept: application/json\r\n${authorization}\r\n`,
  );
  const result: Load = { requests: 0, failed: 0, waits: [], seconds: 0 };
  const begun = performance.now();
  let next = 0;
  const drive = (socket: TLSSocket) =>
    new Promise<void>((resolve, reject) => {
      let unread = '';
      let sentAt = 0;
      const send = () => {
        if (performance.now() - begun > forMs) {
          socket.destroy();
          resolve();
          return;
        }
        sentAt = performance.now();
        socket.write(requests[next++ % requests.length] ?? '');
      };
      socket.setEncoding('latin1').on('data', (text: string) => {
        unread += text;
        if (!ended(unread)) return;
        result.waits.push(performance.now() - sentAt);
        result.requests += 1;
        if (!unread.startsWith('HTTP/1.1 200')) result.failed += 1;
        unread = '';
        send();
      });
      socket.once('error', reject);
      socket.once('close', () => reject(new Error(`${host} closed the connection`)));
      send();
    });
  const sockets = await Promise.all(
    Array.from({ length: connections }, () =>
      opened({
        host: hostname,
        port: Number(port),
        cert,
        key,
        ...(ca === undefined ? { rejectUnauthorized: false } : { ca }),
      }),
    ),
  );
  await Promise.all(sockets.map(drive));
  result.seconds = (performance.now() - begun) / 1000;
  return result;
}

function opened(options: ConnectionOptions): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect(options, () => resolve(socket));
    socket.once('error', reject);
  });
}

/** Whether a text is a whole HTTP/1.1 answer. */
function ended(text: string): boolean {
  const head = text.indexOf('\r\n\r\n');
  if (head < 0) return false;
  const length = /\r\ncontent-length: *(\d+)/i.exec(text)?.[1];
  if (length !== undefined) return text.length >= head + 4 + Number(length);
  return text.endsWith('\r\n0\r\n\r\n');
}
