import { rootCertificates, type SecureContextOptions } from 'node:tls';
import type { Secret } from './secret.ts';

/** How to trust and to be trusted. Certificates and keys are PEM texts. */
export interface TlsOptions {
  /** Trusted in addition to the system's certificates. */
  ca?: string;
  cert?: string;
  key?: Secret;
  keyPassword?: Secret;
  /** Skips verification; only where a manifest says `unsafeSsl`. */
  unsafeSsl?: boolean;
  minVersion?: 'TLSv1.2' | 'TLSv1.3';
}

/** What triggers give of these options; undefined where a parameter is left out. */
type GivenTls = { [K in 'ca' | 'cert' | 'key' | 'keyPassword' | 'unsafeSsl']?: TlsOptions[K] | undefined };

/** Options of what was given, without what was not. */
export function tlsOptions({ ca, cert, key, keyPassword, unsafeSsl }: GivenTls): TlsOptions {
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(keyPassword === undefined ? {} : { keyPassword }),
    ...(unsafeSsl ? { unsafeSsl } : {}),
  };
}

/** A text that differs exactly when two sets of options may not share a connection. Holds no secret. */
export function tlsIdentity(tls: TlsOptions | undefined): string {
  if (tls === undefined) return '';
  const parts = [tls.ca, tls.cert, tls.key?.fingerprint(), tls.keyPassword?.fingerprint(), tls.minVersion];
  return `${parts.map(part => part ?? '').join('|')}${tls.unsafeSsl ? '|unsafe' : ''}`;
}

/**
 * What Node takes to encrypt with these options, for HTTP as for every other protocol.
 *
 * @param common more certificates to trust, as PEM texts, and the oldest TLS where the options do not say (1.2)
 */
export function tlsSettings(
  tls: TlsOptions,
  common: {
    roots?: readonly string[] | undefined;
    minTlsVersion?: TlsOptions['minVersion'] | undefined;
  } = {},
): SecureContextOptions & { rejectUnauthorized?: boolean } {
  const { roots = [], minTlsVersion = 'TLSv1.2' } = common;
  const trusted = [...roots, ...(tls.ca === undefined ? [] : [tls.ca])];
  return {
    minVersion: tls.minVersion ?? minTlsVersion,
    ...(trusted.length === 0 ? {} : { ca: [...rootCertificates, ...trusted] }),
    ...(tls.cert === undefined ? {} : { cert: tls.cert }),
    ...(tls.key === undefined ? {} : { key: tls.key.reveal() }),
    ...(tls.keyPassword === undefined ? {} : { passphrase: tls.keyPassword.reveal() }),
    ...(tls.unsafeSsl ? { rejectUnauthorized: false } : {}),
  };
}
