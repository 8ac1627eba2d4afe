import { readFile } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import { deadline } from '../base/deadline.ts';
import { Fault, faultOf } from '../base/errors.ts';
import { type HttpAnswer, type HttpClient, networkFault, requireOk } from '../base/http.ts';
import { Secret } from '../base/secret.ts';
import type { PodIdentity } from '../spec/pod-identity.ts';

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

/** Renewed this long before the end, or at three quarters of its life where that is later. */
const renewBeforeMs = 5 * 60_000;
const retryMs = 30_000;
const answerWithinMs = 10_000;
/** A token this close to its end might be over when it arrives. */
const marginMs = 10_000;

interface Kept {
  token: Secret;
  renewAt: number;
  endsAt: number;
}

interface Grant {
  url: string;
  clientId: string;
  scope: string;
}

/**
 * Exchanges the pod's federated token for access tokens at Microsoft Entra. Many askers make one request; an old
 * token is handed out while its renewal runs or fails, as long as it holds.
 */
export function azureWorkload(
  options: AzureWorkloadOptions,
  { clock, http }: { clock: Clock; http: HttpClient },
): AzureWorkload {
  const kept = new Map<string, Kept>();
  const flights = new Map<string, Promise<Secret>>();
  const stop = new AbortController();

  async function renew(key: string, grant: Grant): Promise<Secret> {
    try {
      using limit = deadline(stop.signal, answerWithinMs);
      const fresh = await requestToken(grant, options.federatedTokenFile, {
        http,
        clock,
        signal: limit.signal,
      });
      for (const [other, { endsAt }] of kept) if (endsAt <= clock.now()) kept.delete(other);
      kept.set(key, fresh);
      return fresh.token;
    } catch (thrown) {
      const old = kept.get(key);
      if (old !== undefined) old.renewAt = clock.now() + retryMs;
      throw faultOf(thrown, 'AUTH_FAILED');
    } finally {
      flights.delete(key);
    }
  }

  function fly(key: string, grant: Grant): Promise<Secret> {
    const flying = flights.get(key) ?? renew(key, grant);
    flights.set(key, flying);
    return flying;
  }

  return {
    async accessToken(identity, scope, signal) {
      const grant = grantFor(identity, scope, options);
      const key = JSON.stringify(grant);
      const old = kept.get(key);
      if (old === undefined || clock.now() >= old.endsAt - marginMs) {
        return await withSignal(fly(key, grant), new URL(grant.url).host, signal);
      }
      // Nobody waits for a renewal that is early, and nobody fails by it.
      if (clock.now() >= old.renewAt) fly(key, grant).catch(() => undefined);
      return old.token;
    },
    [Symbol.dispose]: () => stop.abort(new Fault('CANCELLED', 'the source of tokens was closed')),
  };
}

/** As KEDA: the identity overrides client and tenant, and the authority only together with the tenant. */
function grantFor(identity: PodIdentity, scope: string, options: AzureWorkloadOptions): Grant {
  const clientId = identity.identityId ?? options.clientId;
  const tenantId = identity.identityTenantId || options.tenantId;
  const configured = options.authorityHost || publicAuthority;
  if (!clientId || !tenantId || !options.federatedTokenFile) {
    const needs =
      'AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_FEDERATED_TOKEN_FILE, which the webhook of Azure Workload Identity sets';
    throw new Fault('NOT_SUPPORTED', `there is no Azure workload identity here; it needs ${needs}`);
  }
  if (!URL.canParse(configured)) {
    throw new Fault('NOT_SUPPORTED', `AZURE_AUTHORITY_HOST "${configured}" is not a URL`);
  }
  const asked = identity.identityTenantId ? identity.identityAuthorityHost : undefined;
  const authority = asked ? askedAuthority(asked, configured) : new URL(configured);
  return {
    url: new URL(`/${encodeURIComponent(tenantId)}/oauth2/v2.0/token`, authority).href,
    clientId,
    scope,
  };
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

async function requestToken(
  { url, clientId, scope }: Grant,
  tokenFile: string | undefined,
  { http, clock, signal }: { http: HttpClient; clock: Clock; signal: AbortSignal },
): Promise<Kept> {
  const assertion = await readAssertion(tokenFile ?? '');
  const askedAt = clock.now();
  const answer = await http
    .send({
      method: 'POST',
      url,
      headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
      body: new URLSearchParams({
        grant_type: 'client_credentials',
        client_id: clientId,
        scope,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: assertion.reveal(),
      }).toString(),
      maxBytes: 256 * 1024,
      signal,
    })
    .catch((thrown: unknown) => {
      const fault = faultOf(thrown);
      throw fault.code === 'CANCELLED' ? fault : new Fault('AUTH_FAILED', fault.message, { cause: fault });
    });
  const json = readJson(answer);
  const host = new URL(url).host;
  if (answer.status !== 200) throw refused(answer, { host, json, now: askedAt });
  const seconds = Number(json['expires_in']);
  const token = json['access_token'];
  if (typeof token !== 'string' || token === '' || !(seconds > 0)) {
    throw new Fault('AUTH_FAILED', `${host} answered without a token and its lifetime`);
  }
  const lifeMs = seconds * 1_000;
  return {
    token: new Secret(token),
    endsAt: askedAt + lifeMs,
    renewAt: askedAt + Math.max(lifeMs - renewBeforeMs, lifeMs * 0.75),
  };
}

async function readAssertion(file: string): Promise<Secret> {
  try {
    return new Secret((await readFile(file, 'utf8')).trim());
  } catch (cause) {
    throw new Fault('AUTH_FAILED', `the federated token file "${file}" cannot be read`, { cause });
  }
}

function readJson({ body }: HttpAnswer): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
  } catch {
    return {};
  }
}

function refused(
  answer: HttpAnswer,
  { host, json, now }: { host: string; json: Readonly<Record<string, unknown>>; now: number },
): Fault {
  const description = json['error_description'] ?? json['error'];
  // Below the first line are trace ids and the time, which differ at every try.
  const why = typeof description === 'string' ? (description.split(/[\r\n]/)[0] ?? '') : '';
  try {
    requireOk({ ...answer, body: Buffer.from(why) }, host, now);
    return new Fault('AUTH_FAILED', `${host} answered ${answer.status} instead of a token`);
  } catch (thrown) {
    const { message, retryAfterMs } = faultOf(thrown);
    return new Fault('AUTH_FAILED', message, retryAfterMs === undefined ? {} : { retryAfterMs });
  }
}

/** Waits for work that others share: giving up alone does not end it. */
function withSignal<T>(work: Promise<T>, host: string, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const give = () => reject(networkFault(signal.reason, host, signal));
    if (signal.aborted) give();
    signal.addEventListener('abort', give, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', give));
  });
}
