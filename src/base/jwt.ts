import { createPrivateKey, sign } from 'node:crypto';
import { Fault } from './errors.ts';
import { Secret } from './secret.ts';

/**
 * A JSON Web Token signed with RSA and SHA-256 (RS256).
 *
 * @param claims what it says; `iat` and `exp` are in seconds
 * @param key the private key, as PEM
 * @throws Fault AUTH_FAILED for a key that is none, or not one of RSA
 */
export function signedJwt(
  claims: Readonly<Record<string, unknown>>,
  key: Secret,
  header: Readonly<Record<string, unknown>> = {},
): Secret {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'RS256', typ: 'JWT', ...header })}.${part(claims)}`;
  try {
    const privateKey = createPrivateKey(key.reveal());
    if (privateKey.asymmetricKeyType !== 'rsa') throw new Error('not RSA');
    return new Secret(`${text}.${sign('sha256', Buffer.from(text), privateKey).toString('base64url')}`);
  } catch {
    // The library's own error may quote the key.
    throw new Fault('AUTH_FAILED', 'the private key is not an RSA key in PEM');
  }
}

/**
 * What a JSON Web Token says, without asking whether it is true.
 *
 * @returns undefined for a text that is no such token
 */
export function jwtClaims(token: string): Readonly<Record<string, unknown>> | undefined {
  const parts = token.split('.');
  if (parts.length !== 3) return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(parts[1] ?? '', 'base64url').toString('utf8'));
    return typeof claims === 'object' && claims !== null && !Array.isArray(claims)
      ? (claims as Readonly<Record<string, unknown>>)
      : undefined;
  } catch {
    return undefined;
  }
}
