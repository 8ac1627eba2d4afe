import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { Fault } from '../base/errors.ts';
import { jwtClaims } from '../base/jwt.ts';
import type { Lent } from '../base/keeper.ts';
import { Secret } from '../base/secret.ts';
import type { TriggerAuthenticationSpec } from '../spec/trigger-authentication.ts';
import { type Json, jsonOf, recordOf, refusalOf, saysMissing, textOf } from './provider-answer.ts';
import { serviceAccountToken } from './service-account.ts';
import type { SecretStores, StoreAsk } from './stores.ts';

export type HashiCorpVault = NonNullable<TriggerAuthenticationSpec['hashiCorpVault']>;

/** What the operator was told of Vault. */
export interface VaultOptions {
  /** VAULT_ADDR: the Vault that may be shown the operator's own identity. */
  address?: string;
  /** VAULT_TOKEN: the operator's own, for those who give none. */
  token?: Secret;
}

/** A token of Vault's. */
export interface VaultSession {
  token: Secret;
  renewable: boolean;
}

/** A request to Vault. */
export interface VaultRequest {
  method: 'GET' | 'POST';
  /** Below `/v1/`, as people write it. */
  path: string;
  body?: Json;
  token?: Secret;
  /** What else must not be quoted. */
  secrets?: readonly Secret[];
}

const ownTokenFile = '/var/run/secrets/kubernetes.io/serviceaccount/token';
const mostTokenBytes = 1024 * 1024;

/** How to get a session, and what tells it from others. */
export interface VaultLogin {
  key: string;
  begin(signal: AbortSignal): Promise<Lent<VaultSession>>;
}

/**
 * How `spec` logs in. With `kubernetes` it is the service account that the manifest names, in the workload's
 * namespace; without one it is the operator itself. What is the operator's own (its service account's token,
 * VAULT_TOKEN) goes only where a ClusterTriggerAuthentication says, or to the Vault of VAULT_ADDR: whoever may
 * write a TriggerAuthentication could otherwise have it sent to an address of theirs. KEDA sends it anywhere, and
 * takes VAULT_TOKEN before a token that the manifest gives.
 *
 * @throws Fault MANIFEST_INVALID, NOT_SUPPORTED
 */
export function vaultLogin(spec: HashiCorpVault, ask: StoreAsk): VaultLogin {
  return spec.authentication === 'kubernetes' ? byKubernetes(spec, ask) : byToken(spec, ask);
}

function byToken(spec: HashiCorpVault, ask: StoreAsk): VaultLogin {
  const { stores, of } = ask;
  const given = spec.credential?.token;
  const own = stores.options.vault.token;
  if (!given && own === undefined) {
    throw new Fault(
      'MANIFEST_INVALID',
      `hashiCorpVault of ${of} has authentication token, and no credential.token`,
    );
  }
  if (!given) requireTrust(spec, ask, 'the token in VAULT_TOKEN');
  const token = given ? new Secret(given) : (own ?? new Secret(''));
  return {
    key: JSON.stringify([spec.address, spec.namespace, 'token', token.fingerprint()]),
    async begin(signal) {
      const askedAt = stores.clock.now();
      const request = { method: 'GET', path: 'auth/token/lookup-self', token } as const;
      const data = recordOf((await askVault(spec, request, { stores, signal }))?.['data']);
      const session = { token, renewable: data?.['renewable'] === true };
      return sessionFor(session, askedAt, Number(data?.['ttl'] ?? 0));
    },
  };
}

function byKubernetes(spec: HashiCorpVault, ask: StoreAsk): VaultLogin {
  const { stores, of, workloadNamespace } = ask;
  const { mount, role, credential } = spec;
  if (!mount || !role) {
    const missing = mount ? 'role' : 'mount';
    throw new Fault(
      'MANIFEST_INVALID',
      `hashiCorpVault of ${of} has authentication kubernetes, and no ${missing}`,
    );
  }
  const account = credential?.serviceAccountName;
  const file = credential?.serviceAccount || ownTokenFile;
  if (!account) {
    requireTrust(spec, ask, "the operator's own service account");
    if (file !== ownTokenFile && !ask.clusterWide) {
      const sentence = `hashiCorpVault of ${of} names the file ${file} of the operator, which only a`;
      throw new Fault(
        'NOT_SUPPORTED',
        `${sentence} ClusterTriggerAuthentication may; use serviceAccountName`,
      );
    }
  }
  const who = account ? ['account', workloadNamespace, account] : ['file', file];
  return {
    key: JSON.stringify([spec.address, spec.namespace, mount, role, ...who]),
    async begin(signal) {
      const jwt = account
        ? await serviceAccountToken(workloadNamespace, account, { ...ask, signal })
        : await readJwt(file);
      const askedAt = stores.clock.now();
      const answer = await askVault(
        spec,
        { method: 'POST', path: `auth/${mount}/login`, body: { role, jwt: jwt.reveal() }, secrets: [jwt] },
        { stores, signal },
      );
      return sessionOf(recordOf(answer?.['auth']), askedAt, spec);
    },
  };
}

function requireTrust(
  { address }: HashiCorpVault,
  { stores, clusterWide, of }: StoreAsk,
  what: string,
): void {
  const trusted = stores.options.vault.address;
  const origin = (text: string) => (URL.canParse(text) ? new URL(text).origin : undefined);
  if (clusterWide || (trusted !== undefined && origin(trusted) === origin(address))) return;
  const sentence = `hashiCorpVault of ${of} would send ${what} to ${address}, which is not the Vault in VAULT_ADDR`;
  const mending = 'name a serviceAccountName or a credential.token, or use a ClusterTriggerAuthentication';
  throw new Fault('NOT_SUPPORTED', `${sentence} of the operator; ${mending}`);
}

/** As KEDA: a plain file of no more than 1 MiB with a service account's token, whatever a manifest says. */
async function readJwt(file: string): Promise<Secret> {
  let text: string;
  try {
    await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await handle.stat();
    if (!stat.isFile() || stat.size > mostTokenBytes) {
      throw new Fault('AUTH_FAILED', `${file} is not a file of at most 1 MiB`);
    }
    text = (await handle.readFile('utf8')).trim();
  } catch (thrown) {
    if (thrown instanceof Fault) throw thrown;
    const { code } = thrown as NodeJS.ErrnoException;
    throw new Fault('AUTH_FAILED', `the service account's token ${file} cannot be read (${code})`, {
      cause: thrown,
    });
  }
  const subject = jwtClaims(text)?.['sub'];
  if (typeof subject === 'string' && subject.startsWith('system:serviceaccount:')) return new Secret(text);
  throw new Fault('AUTH_FAILED', `${file} holds no token of a service account`);
}

/**
 * Goes on with a session, or begins a new one where it cannot be renewed.
 *
 * @throws what `login` throws
 */
export async function vaultSession(
  spec: HashiCorpVault,
  login: VaultLogin,
  ask: StoreAsk,
): Promise<Lent<VaultSession>> {
  const { stores, signal, lookup } = ask;
  const lent = await stores.sessions.get(login.key, {
    host: hostOf(spec),
    signal,
    async fetch(stop, old) {
      if (old?.value.renewable !== true) return await login.begin(stop);
      const askedAt = stores.clock.now();
      const request = {
        method: 'POST',
        path: 'auth/token/renew-self',
        body: {},
        token: old.value.token,
      } as const;
      try {
        const answer = await askVault(spec, request, { stores, signal: stop });
        return sessionOf(recordOf(answer?.['auth']), askedAt, spec);
      } catch {
        // Vault renews a token only up to its last day; and what it says to a new login is of more use.
        stop.throwIfAborted();
        return await login.begin(stop);
      }
    },
  });
  lookup.renewBy(lent.renewAt);
  return lent;
}

function sessionOf(auth: Json | undefined, askedAt: number, spec: HashiCorpVault): Lent<VaultSession> {
  const token = textOf(auth?.['client_token']);
  if (token === undefined) throw new Fault('AUTH_FAILED', `${hostOf(spec)} answered without a token`);
  const session = { token: new Secret(token), renewable: auth?.['renewable'] === true };
  return sessionFor(session, askedAt, Number(auth?.['lease_duration'] ?? 0));
}

/** Renewed at half of its life, so that there is time to try again; one without an end is looked up again after a day. */
function sessionFor(value: VaultSession, askedAt: number, seconds: number): Lent<VaultSession> {
  const endsAt = seconds > 0 ? askedAt + seconds * 1_000 : Number.POSITIVE_INFINITY;
  const renewAt = askedAt + (seconds > 0 ? seconds * 500 : dayMs);
  return { value, renewAt, endsAt };
}

const dayMs = 24 * 60 * 60_000;

/** For people. */
export const hostOf = ({ address }: HashiCorpVault): string =>
  URL.canParse(address) ? new URL(address).host : address;

/**
 * Asks Vault.
 *
 * @returns undefined where there is nothing at that path
 * @throws VaultRefused, Fault AUTH_FAILED, MANIFEST_INVALID, or what the client throws
 */
export async function askVault(
  spec: HashiCorpVault,
  { method, path, body, token, secrets = [] }: VaultRequest,
  { stores, signal }: { stores: SecretStores; signal: AbortSignal },
): Promise<Json | undefined> {
  const now = stores.clock.now();
  const answer = await stores.http.send({
    method,
    url: addressOf(spec, path),
    headers: {
      accept: 'application/json',
      'x-vault-request': 'true',
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(token === undefined ? {} : { 'x-vault-token': token.reveal() }),
      ...(spec.namespace ? { 'x-vault-namespace': spec.namespace } : {}),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal,
  });
  const json = jsonOf(answer);
  if (saysMissing(answer, json, 'errors') || saysMissing(answer, json, 'data')) {
    return missing(json, { spec, path });
  }
  if (answer.status >= 200 && answer.status < 300) return json;
  const fault = refusalOf(answer, {
    host: hostOf(spec),
    what: path,
    why: textsOf(json['errors']).join('; ').replace(/\s+/g, ' ').trim(),
    secrets: token === undefined ? secrets : [...secrets, token],
    now,
  });
  throw answer.status === 403 ? new VaultRefused(fault.code, fault.message) : fault;
}

/** Vault does not let a session do this, which may be because it was ended. */
export class VaultRefused extends Fault {}

/** Vault has hints for those who leave `data/` out of a path, and errors for those who mean another engine. */
function missing(json: Json, { spec, path }: { spec: HashiCorpVault; path: string }): undefined {
  const hint = [...textsOf(json['warnings']), ...textsOf(json['errors'])][0];
  if (hint === undefined) return undefined;
  throw new Fault('AUTH_MISSING', `${hostOf(spec)} has nothing at "${path}": ${hint.split('\n')[0]}`);
}

const textsOf = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter(each => typeof each === 'string') : [];

function addressOf({ address }: HashiCorpVault, path: string): string {
  const parts = path.split('/').filter(part => part !== '');
  if (parts.some(part => part === '.' || part === '..')) {
    throw new Fault('MANIFEST_INVALID', `"${path}" is not a path of Vault's`);
  }
  return `${address.replace(/\/+$/, '')}/v1/${parts.map(encodeURIComponent).join('/')}`;
}
