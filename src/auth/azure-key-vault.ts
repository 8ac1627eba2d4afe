import { Fault } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import type { TriggerAuthenticationSpec } from '../spec/trigger-authentication.ts';
import { entraToken, tokenEndpoint } from './entra.ts';
import { jsonOf, recordOf, refusalOf, saysMissing, textOf } from './provider-answer.ts';
import { fromSecrets } from './secret.ts';
import { type Answered, askWithToken, type Caller, type StoreAsk, storedValue } from './stores.ts';

export type AzureKeyVault = NonNullable<TriggerAuthenticationSpec['azureKeyVault']>;
type AzureSecret = AzureKeyVault['secrets'][number];

/** Where the vaults of a cloud of Azure are, and who gives the tokens for them. */
interface Cloud {
  /** What the tokens are for; vaults are below its host. */
  resource: string;
  authority: string;
}

/** By their names in upper case, as elsewhere in KEDA. */
const clouds: Readonly<Record<string, Cloud>> = {
  AZUREPUBLICCLOUD: {
    resource: 'https://vault.azure.net',
    authority: 'https://login.microsoftonline.com',
  },
  AZUREUSGOVERNMENTCLOUD: {
    resource: 'https://vault.usgovcloudapi.net',
    authority: 'https://login.microsoftonline.us',
  },
  AZURECHINACLOUD: { resource: 'https://vault.azure.cn', authority: 'https://login.chinacloudapi.cn' },
  AZUREGERMANCLOUD: {
    resource: 'https://vault.microsoftazure.de',
    authority: 'https://login.microsoftonline.de',
  },
};

/**
 * Parameters from Azure Key Vault: `azureKeyVault`, with a client secret or the pod identity `azure-workload`. The
 * operator's own tokens go to vaults of Azure's clouds only, unless a ClusterTriggerAuthentication says otherwise:
 * whoever may write a TriggerAuthentication could have them sent elsewhere. Unlike in KEDA, `cloud` is used.
 *
 * @throws Fault AUTH_MISSING, AUTH_FAILED, MANIFEST_INVALID, NOT_SUPPORTED
 */
export async function fromAzureKeyVault(spec: AzureKeyVault, ask: StoreAsk): Promise<Record<string, Secret>> {
  if (!URL.canParse(spec.vaultUri)) {
    throw new Fault('MANIFEST_INVALID', `vaultUri "${spec.vaultUri}" of ${ask.of} is not a URL`);
  }
  const vault = new URL(spec.vaultUri);
  const who = await whoAsks(spec, vault, ask);
  const found: Record<string, Secret> = {};
  for (const secret of spec.secrets) {
    const { name, version } = secret;
    const path = ['secrets', name, version].filter(part => part !== undefined && part !== '');
    const url = new URL(path.map(part => encodeURIComponent(part ?? '')).join('/'), vault.origin);
    url.search = 'api-version=7.4';
    const { value } = await storedValue(['azure', who.key, url.href], vault.host, {
      ask,
      fetch: stop => fetchSecret(secret, { url: url.href, who, ask: { ...ask, signal: stop } }),
    });
    found[secret.parameter] = new Secret(textOf(value) ?? '');
  }
  return found;
}

async function whoAsks(spec: AzureKeyVault, vault: URL, ask: StoreAsk): Promise<Caller<Secret>> {
  const { credentials, podIdentity } = spec;
  const { resource, authority } = cloudOf(spec, vault, ask);
  const scope = `${resource.replace(/\/$/, '')}/.default`;
  const { tokens, grants, clock, http } = ask.stores;
  if (podIdentity?.provider === 'azure-workload') {
    requireAzure(vault, ask);
    return {
      key: JSON.stringify([podIdentity, scope]),
      grant: signal => tokens.accessToken(podIdentity, scope, signal),
      refused: token => tokens.refused(token),
    };
  }
  if (podIdentity !== undefined && podIdentity.provider !== 'none') {
    const sentence = `azureKeyVault of ${ask.of} does not know the pod identity ${podIdentity.provider}`;
    throw new Fault('MANIFEST_INVALID', `${sentence}; azure-workload is right`);
  }
  if (credentials === undefined) {
    throw new Fault(
      'MANIFEST_INVALID',
      `azureKeyVault of ${ask.of} has neither credentials nor a podIdentity`,
    );
  }
  const { clientId, tenantId, clientSecret: reference } = credentials;
  const wanted = { parameter: 'clientSecret', ...reference.valueFrom.secretKeyRef };
  const { clientSecret = new Secret('') } = await fromSecrets([wanted], ask.namespace, ask.lookup);
  const url = tokenEndpoint(authority, tenantId);
  const key = JSON.stringify(['entra', url, clientId, clientSecret.fingerprint(), scope]);
  const grant = { url, clientId, scope, proof: { clientSecret } };
  return {
    key,
    async grant(signal) {
      const fetch = (stop: AbortSignal) => entraToken(grant, { http, clock, signal: stop });
      return (await grants.get(key, { fetch, host: new URL(url).host, signal })).value;
    },
    refused: token => grants.refused(token),
  };
}

const below = ({ protocol, hostname, port }: URL, resource: string) =>
  protocol === 'https:' && port === '' && hostname.endsWith(`.${new URL(resource).hostname}`);

function requireAzure(vault: URL, { clusterWide, of }: StoreAsk): void {
  if (clusterWide || Object.values(clouds).some(({ resource }) => below(vault, resource))) return;
  const sentence = `azureKeyVault of ${of} would send a token of the operator to ${vault.host}`;
  const mending = 'use credentials, or a ClusterTriggerAuthentication';
  throw new Fault('NOT_SUPPORTED', `${sentence}, which is no vault of Azure; ${mending}`);
}

/** The cloud that the manifest names, or the one that the vault is in. */
function cloudOf({ cloud }: AzureKeyVault, vault: URL, { of }: StoreAsk): Cloud {
  const type = cloud?.type.toUpperCase();
  const publicCloud = clouds['AZUREPUBLICCLOUD'] as Cloud;
  if (type === undefined) {
    return Object.values(clouds).find(({ resource }) => below(vault, resource)) ?? publicCloud;
  }
  const known = clouds[type];
  if (known !== undefined) return known;
  const [resource, authority] = [cloud?.keyVaultResourceURL, cloud?.activeDirectoryEndpoint];
  if (type !== 'PRIVATE' || !resource || !authority || !URL.canParse(authority)) {
    const right = `${Object.keys(clouds).length} clouds of Azure by name, or Private`;
    const sentence = `cloud "${cloud?.type}" of azureKeyVault of ${of} is not one of the ${right}`;
    throw new Fault('MANIFEST_INVALID', `${sentence} with keyVaultResourceURL and activeDirectoryEndpoint`);
  }
  return { resource, authority };
}

/** @see https://learn.microsoft.com/rest/api/keyvault/secrets/get-secret/get-secret */
async function fetchSecret(
  { name }: AzureSecret,
  { url, who, ask }: { url: string; who: Caller<Secret>; ask: StoreAsk },
): Promise<Answered> {
  const now = ask.stores.clock.now();
  const { answer, grant } = await askWithToken(who, url, ask);
  const json = jsonOf(answer);
  const { host } = new URL(url);
  const why = textOf(recordOf(json['error'])?.['message']);
  if (saysMissing(answer, json, 'error')) {
    throw new Fault('AUTH_MISSING', `${host} has no secret "${name}"${why === undefined ? '' : `: ${why}`}`);
  }
  const { value } = json;
  if (answer.status === 200 && typeof value === 'string') return { value: { value } };
  throw refusalOf(answer, { host, what: `secret "${name}"`, why, secrets: [grant], now });
}
