import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { rootCertificates, connect as startTls } from 'node:tls';
import { Fault } from '../../base/errors.ts';
import { networkFault } from '../../base/http.ts';
import type { TlsOptions } from '../../base/tls.ts';

export interface Address {
  host: string;
  port: number;
}

/** How to get to a server that speaks a protocol of its own. */
export interface Way {
  tls?: TlsOptions | undefined;
  /** More certificates to trust, as PEM texts. */
  roots?: readonly string[] | undefined;
  minTlsVersion?: 'TLSv1.2' | 'TLSv1.3' | undefined;
}

/** `host:port`, with the brackets that an IPv6 address needs. */
export const joinHostPort = (host: string, port: string | number) =>
  `${host.includes(':') ? `[${host}]` : host}:${port}`;

/**
 * Connects, with TLS where `way.tls` is given. Small writes go out at once, and a peer that vanished is noticed.
 *
 * @throws Fault SOURCE_UNREACHABLE, SOURCE_TIMEOUT or CANCELLED
 */
export function openSocket(address: Address, way: Way, signal: AbortSignal): Promise<Socket> {
  const name = joinHostPort(address.host, address.port);
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(networkFault(signal.reason, name, signal));
      return;
    }
    const { tls } = way;
    const socket = tls === undefined ? connectTcp(address) : startTls(tlsSettings(address, way, tls));
    const over = () => {
      signal.removeEventListener('abort', stop);
      socket.off('error', fail);
      socket.off('close', gone);
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
    signal.addEventListener('abort', stop, { once: true });
    socket.on('error', fail);
    socket.on('close', gone);
    socket.once(tls === undefined ? 'connect' : 'secureConnect', () => {
      over();
      socket.setNoDelay(true);
      socket.setKeepAlive(true, 30_000);
      resolve(socket);
    });
  });
}

function tlsSettings(address: Address, { roots = [], minTlsVersion = 'TLSv1.2' }: Way, tls: TlsOptions) {
  const trusted = [...roots, ...(tls.ca === undefined ? [] : [tls.ca])];
  return {
    ...address,
    ...(isIP(address.host) === 0 ? { servername: address.host } : {}),
    minVersion: tls.minVersion ?? minTlsVersion,
    ...(trusted.length === 0 ? {} : { ca: [...rootCertificates, ...trusted] }),
    ...(tls.cert === undefined ? {} : { cert: tls.cert }),
    ...(tls.key === undefined ? {} : { key: tls.key.reveal() }),
    ...(tls.keyPassword === undefined ? {} : { passphrase: tls.keyPassword.reveal() }),
    ...(tls.unsafeSsl ? { rejectUnauthorized: false } : {}),
  };
}
