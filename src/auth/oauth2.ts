import { Secret } from '../base/secret.ts';
import type { Lookup } from './lookup.ts';
import { fromSecrets } from './secret.ts';

/** `oauth2` of a TriggerAuthentication. */
export interface OAuth2 {
  clientId: string;
  tokenUrl: string;
  clientSecret?: { valueFrom: { secretKeyRef: { name: string; key: string } } };
  scopes?: readonly string[];
  tokenUrlParams?: Readonly<Record<string, string>>;
}

/**
 * The parameters that HTTP scalers sign in with by client credentials: `oauthTokenURI`, `clientID`,
 * `clientSecret`, `scopes` (with commas) and `endpointParams` (a URL query), as KEDA names them.
 *
 * @throws Fault AUTH_MISSING where the client secret is not there
 */
export async function fromOAuth2(
  { clientId, tokenUrl, clientSecret, scopes = [], tokenUrlParams = {} }: OAuth2,
  namespace: string,
  lookup: Lookup,
): Promise<Record<string, Secret>> {
  const reference = clientSecret?.valueFrom.secretKeyRef;
  const secrets =
    reference === undefined
      ? {}
      : await fromSecrets([{ parameter: 'clientSecret', ...reference }], namespace, lookup);
  const query = new URLSearchParams(tokenUrlParams);
  query.sort();
  return {
    oauthTokenURI: new Secret(tokenUrl),
    clientID: new Secret(clientId),
    ...secrets,
    ...(scopes.length === 0 ? {} : { scopes: new Secret(scopes.join(',')) }),
    ...(query.size === 0 ? {} : { endpointParams: new Secret(query.toString()) }),
  };
}
