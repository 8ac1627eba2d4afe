import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { type ConnectionOptions, connect as startTls } from 'node:tls';
import { Fault } from '../../base/errors.ts';
import { networkFault } from '../../base/http.ts';
import { type TlsOptions, tlsSettings } from '../../base/tls.ts';

export interface Address {
  host: string;
  port: number;
}

/** How to get to a server that speaks a protocol of its own. */
export interface Way {
  tls?: TlsOptions | undefined;
  /** The server's certificate may be of another host. */
  anyHost?: boolean;
  /** Whose certificate it is to be, where that is not the host. */
  serverName?: string | undefined;
  /** More certificates to trust, as PEM texts. */
  roots?: readonly string[] | undefined;
  minTlsVersion?: 'TLSv1.2' | 'TLSv1.3' | undefined;
}

/** `host:port`, with the brackets that an IPv6 address needs. */
export const joinHostPort = (host: string, port: string | number) =>
  `${host.includes(':') ? `[${host}]` : host}:${port}`;

export const addressText = ({ host, port }: Address) => joinHostPort(host, port);

/**
 * Connects, with TLS where `way.tls` is given. Small writes go out at once, and a peer that vanished is noticed.
 *
 * @throws Fault SOURCE_UNREACHABLE, SOURCE_TIMEOUT or CANCELLED
 */
export async function openSocket(address: Address, way: Way, signal: AbortSignal): Promise<Socket> {
  if (signal.aborted) throw networkFault(signal.reason, addressText(address), signal);
  const { tls } = way;
  const socket =
    tls === undefined ? connectTcp(address) : startTls({ ...address, ...tlsOptions(address, way, tls) });
  await opened(socket, { event: tls === undefined ? 'connect' : 'secureConnect', address, signal });
  socket.setNoDelay(true);
  socket.setKeepAlive(true, 30_000);
  return socket;
}

/**
 * Goes on encrypted over a connection that nobody listens to any more, where a protocol agrees on that first.
 *
 * @throws as `openSocket` does
 */
export async function encryptSocket(
  plain: Socket,
  { address, way, signal }: { address: Address; way: Way; signal: AbortSignal },
): Promise<Socket> {
  const { tls = {} } = way;
  // Without a server name it is the host that the certificate must be of.
  const socket = startTls({ socket: plain, host: address.host, ...tlsOptions(address, way, tls) });
  await opened(socket, { event: 'secureConnect', address, signal });
  return socket;
}

interface Opening {
  event: 'connect' | 'secureConnect';
  address: Address;
  signal: AbortSignal;
}

/** Waits until the socket can be used; destroys it where that does not come. */
function opened(socket: Socket, { event, address, signal }: Opening): Promise<void> {
  const name = addressText(address);
  return new Promise((resolve, reject) => {
    const over = () => {
      signal.removeEventListener('abort', stop);
      socket.off('error', fail).off('close', gone).off(event, done);
    };
    const fail = (thrown: unknown) => {
      over();
      // What else it has to say is of no interest.
      socket.on('error', () => {});
      socket.destroy();
      reject(networkFault(thrown, name, signal));
    };
    const stop = () => fail(signal.reason);
    const gone = () => fail(new Fault('SOURCE_UNREACHABLE', `${name} closed the connection`));
    const done = () => {
      over();
      resolve();
    };
    signal.addEventListener('abort', stop, { once: true });
    socket.on('error', fail).on('close', gone).once(event, done);
  });
}

function tlsOptions({ host }: Address, way: Way, tls: TlsOptions): ConnectionOptions {
  const name = way.serverName ?? host;
  return {
    ...(isIP(name) === 0 ? { servername: name } : {}),
    ...tlsSettings(tls, way),
    ...(way.anyHost ? { checkServerIdentity: () => undefined } : {}),
  };
}
