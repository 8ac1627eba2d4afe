import type { DetailedPeerCertificate, TLSSocket } from 'node:tls';
import type { Peer } from './handler.ts';

const stranger: Peer = { commonName: '', organizations: [], chain: [], validFrom: 0, validUntil: 0 };

/**
 * Who is at the other end, as the handshake found: undefined where the client showed no certificate. Of one whose
 * chain does not end at an authority that the server trusted at that moment nothing is told, and the chain is empty.
 */
export function peerOf(socket: TLSSocket): Peer | undefined {
  const shown = socket.getPeerCertificate(true);
  if (shown?.raw === undefined) return undefined;
  if (!socket.authorized) return stranger;
  const peer = {
    commonName: last(shown.subject?.CN) ?? '',
    organizations: all(shown.subject?.O),
    chain: [] as string[],
    validFrom: 0,
    validUntil: Number.POSITIVE_INFINITY,
  };
  let link: DetailedPeerCertificate | undefined = shown;
  while (link?.fingerprint256 !== undefined && !peer.chain.includes(link.fingerprint256)) {
    peer.chain.push(link.fingerprint256);
    peer.validFrom = Math.max(peer.validFrom, Date.parse(link.valid_from));
    peer.validUntil = Math.min(peer.validUntil, Date.parse(link.valid_to));
    link = link.issuerCertificate;
  }
  return peer;
}

type Attribute = string | readonly string[] | undefined;

const all = (value: Attribute): readonly string[] =>
  value === undefined ? [] : typeof value === 'string' ? [value] : value;

const last = (value: Attribute): string | undefined => all(value).at(-1);
