import type { EndingToken } from '../auth/references.ts';
import { Fault } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import type { KubeClient } from './client.ts';
import { resources } from './objects.ts';
import { objectPath } from './paths.ts';

interface TokenRequest {
  status?: { token?: string; expirationTimestamp?: string };
}

/**
 * Asks the API server for a token of a ServiceAccount.
 *
 * @param lifeMs how long it is to live, in milliseconds; the API server may give one that lives longer or shorter
 * @throws Fault AUTH_MISSING where there is no such ServiceAccount, AUTH_FAILED where we may not, or what the client
 *   throws
 */
export async function requestToken(
  client: KubeClient,
  at: { namespace: string; name: string },
  { lifeMs, signal }: { lifeMs: number; signal: AbortSignal },
): Promise<EndingToken> {
  const who = `ServiceAccount "${at.name}" in namespace "${at.namespace}"`;
  try {
    const answer = (await client.raw({
      method: 'POST',
      path: objectPath(resources.serviceAccounts, { ...at, subresource: 'token' }),
      body: {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        spec: { expirationSeconds: Math.round(lifeMs / 1_000) },
      },
      urgency: 'object',
      signal,
    })) as TokenRequest;
    const { token = '', expirationTimestamp = '' } = answer.status ?? {};
    const endsAt = Date.parse(expirationTimestamp);
    if (token === '' || Number.isNaN(endsAt)) {
      throw new Fault('AUTH_FAILED', `the API server answered without a token of ${who}`);
    }
    return { token: new Secret(token), endsAt };
  } catch (thrown) {
    if (!(thrown instanceof Fault)) throw thrown;
    if (thrown.code === 'KUBE_NOT_FOUND') throw new Fault('AUTH_MISSING', `there is no ${who}`);
    if (thrown.code === 'KUBE_REFUSED') {
      const grant = 'grant the operator "create" on serviceaccounts/token there';
      throw new Fault('AUTH_FAILED', `the operator may not have a token of ${who}; ${grant}`, {
        cause: thrown,
      });
    }
    throw thrown;
  }
}
