import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import type { HttpClient } from '../base/http.ts';
import { Keeper } from '../base/keeper.ts';
import type { Secret } from '../base/secret.ts';
import type { PodIdentity } from '../spec/pod-identity.ts';
import { entraToken, readAssertion, tokenEndpoint } from './entra.ts';

/** What Azure's workload identity webhook gives a pod. */
export interface AzureWorkloadOptions {
  /** AZURE_CLIENT_ID */
  clientId?: string;
  /** AZURE_TENANT_ID */
  tenantId?: string;
  /** AZURE_FEDERATED_TOKEN_FILE; read anew for every token, since it is rotated. */
  federatedTokenFile?: string;
  /** AZURE_AUTHORITY_HOST */
  authorityHost?: string;
}

/** Tokens of Azure workload identities, each kept until it is nearly over. */
export interface AzureWorkload extends Disposable {
  /** @throws Fault NOT_SUPPORTED, AUTH_FAILED or the reason of an aborted signal */
  accessToken(identity: PodIdentity, scope: string, signal: AbortSignal): Promise<Secret>;
  /** It was not accepted where it was used: who asks next waits for a new one. */
  refused(given: Secret): void;
}

const publicAuthority = 'https://login.microsoftonline.com/';

/** Where a manifest may send the operator's token: Microsoft's own, or what the operator was told. */
const microsoftHosts = new Set([
  'login.microsoftonline.com',
  'login.microsoftonline.us',
  'login.microsoftonline.de',
  'login.chinacloudapi.cn',
  'login.partner.microsoftonline.cn',
]);

interface Grant {
  url: string;
  clientId: string;
  tokenFile: string;
}

/**
 * Exchanges the pod's federated token for access tokens at Microsoft Entra. Many askers make one request; an old
 * token is handed out while its renewal runs or fails, as long as it holds.
 */
export function azureWorkload(
  options: AzureWorkloadOptions,
  { clock, http }: { clock: Clock; http: HttpClient },
): AzureWorkload {
  const keeper = new Keeper<Secret>(clock);
  return {
    async accessToken(identity, scope, signal) {
      const { url, clientId, tokenFile } = grantFor(identity, options);
      const { value } = await keeper.get(JSON.stringify([url, clientId, scope]), {
        fetch: async stop => {
          const clientAssertion = await readAssertion(tokenFile, 'the federated token');
          const grant = { url, clientId, scope, proof: { clientAssertion } };
          return await entraToken(grant, { http, clock, signal: stop });
        },
        host: new URL(url).host,
        signal,
      });
      return value;
    },
    refused: given => keeper.refused(given),
    [Symbol.dispose]: () => keeper[Symbol.dispose](),
  };
}

/** As KEDA: the identity overrides client and tenant, and the authority only together with the tenant. */
function grantFor(identity: PodIdentity, options: AzureWorkloadOptions): Grant {
  const clientId = identity.identityId ?? options.clientId;
  const tenantId = identity.identityTenantId || options.tenantId;
  const configured = options.authorityHost || publicAuthority;
  const tokenFile = options.federatedTokenFile;
  if (!clientId || !tenantId || !tokenFile) {
    const needs =
      'AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_FEDERATED_TOKEN_FILE, which the webhook of Azure Workload Identity sets';
    throw new Fault('NOT_SUPPORTED', `there is no Azure workload identity here; it needs ${needs}`);
  }
  if (!URL.canParse(configured)) {
    throw new Fault('NOT_SUPPORTED', `AZURE_AUTHORITY_HOST "${configured}" is not a URL`);
  }
  const asked = identity.identityTenantId ? identity.identityAuthorityHost : undefined;
  const authority = asked ? askedAuthority(asked, configured) : new URL(configured);
  return { url: tokenEndpoint(authority, tenantId), clientId, tokenFile };
}

/** The operator's federated token is worth its identity: a manifest must not have it sent to just any host. */
function askedAuthority(asked: string, configured: string): URL {
  const text = asked.includes('://') ? asked : `https://${asked}`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const known = url?.protocol === 'https:' && url.port === '' && microsoftHosts.has(url.hostname);
  if (url !== undefined && (known || url.origin === new URL(configured).origin)) return url;
  throw new Fault(
    'NOT_SUPPORTED',
    `identityAuthorityHost "${asked}" is neither an authority of Microsoft nor the one this operator uses`,
  );
}
