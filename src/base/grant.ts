import type { HttpAnswer } from './http.ts';

/** Who gives tokens or keys, as good as they are known to be. */
export interface Granter<T> {
  grant(signal: AbortSignal): Promise<T>;
  /** What was given was not accepted: who asks next waits for a new one. */
  refused(grant: T): void;
}

interface GrantedRequest<T> {
  send(grant: T): Promise<HttpAnswer>;
  /** Whether an answer says that what it was asked with is not accepted. */
  isRefused(answer: HttpAnswer): boolean;
  signal: AbortSignal;
}

/**
 * Asks for something, and once more with a new grant where the first is not accepted: it may have been revoked
 * before its time.
 *
 * @throws what `grant` and `send` throw
 */
export async function askGranted<T>(
  who: Granter<T>,
  { send, isRefused, signal }: GrantedRequest<T>,
): Promise<{ answer: HttpAnswer; grant: T }> {
  const grant = await who.grant(signal);
  const answer = await send(grant);
  if (!isRefused(answer)) return { answer, grant };
  who.refused(grant);
  const other = await who.grant(signal);
  return other === grant ? { answer, grant } : { answer: await send(other), grant: other };
}

/** As most say that a token is not accepted; 403 is for what its owner may not do. */
export const isUnauthorized = ({ status }: HttpAnswer): boolean => status === 401;

/** Errors of AWS for keys that are over, or that nobody has any more. */
export const awsKeysAreOver = ({ status, body }: HttpAnswer): boolean =>
  status >= 400 && keysAreOver.test(body.toString('utf8', 0, 8192));

const keysAreOver = /ExpiredToken|UnrecognizedClient|InvalidClientTokenId|security token/i;
