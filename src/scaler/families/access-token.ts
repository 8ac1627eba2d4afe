import { askGranted, isUnauthorized } from '../../base/grant.ts';
import type { HttpAnswer } from '../../base/http.ts';
import type { Secret } from '../../base/secret.ts';
import type { OpenContext } from '../context.ts';

interface Bearing {
  /** What the token is for. */
  scope: string;
  signal: AbortSignal;
  /** @param authorization the value of that header */
  send(authorization: string): Promise<HttpAnswer>;
}

/**
 * Sends a request with an access token of the pod identity, and once more with a new one where that is not accepted.
 *
 * @throws Fault AUTH_FAILED, NOT_SUPPORTED, or what `send` throws
 */
export async function sendWithToken(
  { identity, tokens }: Pick<OpenContext, 'identity' | 'tokens'>,
  { scope, signal, send }: Bearing,
): Promise<HttpAnswer> {
  const who = {
    grant: (stop: AbortSignal) => tokens.accessToken(identity, scope, stop),
    refused: (token: Secret) => tokens.refused(token),
  };
  const { answer } = await askGranted(who, {
    send: token => send(`Bearer ${token.reveal()}`),
    isRefused: isUnauthorized,
    signal,
  });
  return answer;
}
