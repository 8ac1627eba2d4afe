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

/** A text that differs exactly when two sets of options may not share a connection. Holds no secret. */
export function tlsIdentity(tls: TlsOptions | undefined): string {
  if (tls === undefined) return '';
  const parts = [tls.ca, tls.cert, tls.key?.fingerprint(), tls.keyPassword?.fingerprint(), tls.minVersion];
  return `${parts.map(part => part ?? '').join('|')}${tls.unsafeSsl ? '|unsafe' : ''}`;
}
