import type { Secret } from '../base/secret.ts';
import { certificatesIn, isKeyOf, readCertificate } from '../base/x509.ts';

const day = 86_400_000;

/** As KEDA has them. */
export const authorityLifeMs = 3650 * day;
export const serverLifeMs = 365 * day;
export const checkEveryMs = day / 2;
const renewBeforeMs = 90 * day;

/** Certificates begin to be valid this much before they are made, for clocks that are behind. */
export const clockSkewMs = 3_600_000;

/** How long the API servers get to learn of a new authority before anything that it vouches for is shown to them. */
const spreadMs = 300_000;

/** What the secret has; empty where it has nothing. */
export interface CertificatePems {
  /** The authority whose key is at hand, and behind it those that may still be trusted. */
  ca: string;
  caKey: Secret;
  cert: string;
  key: Secret;
}

/** What is to be made anew, and when to look again where that is nothing. */
export type CertificatePlan =
  | { make: 'nothing'; checkInMs: number }
  /** A server certificate of the authority that there is. */
  | { make: 'server' }
  /** An authority, while the server certificate goes on to be trusted by the old one. */
  | { make: 'authority' }
  | { make: 'both' };

/**
 * What to do about certificates. What can still be used for long is left as it is, whoever made it; a new authority
 * comes first, and the server certificate that it vouches for only once every API server trusts it.
 *
 * @param dnsNames the names under which the server is called, all of which its certificate must have
 * @param now epoch milliseconds
 */
export function planCertificates(
  pems: CertificatePems,
  { dnsNames, now }: { dnsNames: readonly string[]; now: number },
): CertificatePlan {
  const authority = readCertificate(pems.ca);
  const later = now + renewBeforeMs;
  const authorityLasts =
    authority?.ca === true && validAt(authority, now, later) && isKeyOf(authority, pems.caKey);
  const server = readCertificate(pems.cert);
  const usable =
    server !== undefined &&
    validAt(server, now, now) &&
    isKeyOf(server, pems.key) &&
    dnsNames.every(name => server.checkHost(name) !== undefined) &&
    certificatesIn(pems.ca).some(ca => vouchesFor(ca, server, now));
  if (!authorityLasts) return { make: usable ? 'authority' : 'both' };
  if (!usable) return { make: 'server' };
  if (validAt(server, now, later) && vouchesFor(pems.ca, server, now)) {
    return { make: 'nothing', checkInMs: checkEveryMs };
  }
  const spread = Date.parse(authority.validFrom) + clockSkewMs + spreadMs;
  return spread > now ? { make: 'nothing', checkInMs: spread - now } : { make: 'server' };
}

type Certificate = NonNullable<ReturnType<typeof readCertificate>>;

function validAt(certificate: Certificate, from: number, to: number): boolean {
  return Date.parse(certificate.validFrom) <= from && to < Date.parse(certificate.validTo);
}

/** @param ca of a bundle the first counts */
function vouchesFor(ca: string, certificate: Certificate, now: number): boolean {
  const issuer = readCertificate(ca);
  return (
    issuer !== undefined &&
    validAt(issuer, now, now) &&
    certificate.checkIssued(issuer) &&
    certificate.verify(issuer.publicKey)
  );
}
