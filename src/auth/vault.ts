import { Fault } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import { type Json, recordOf, textOf } from './provider-answer.ts';
import { type Answered, type StoreAsk, storedValue } from './stores.ts';
import {
  askVault,
  type HashiCorpVault,
  hostOf,
  type VaultLogin,
  VaultRefused,
  vaultLogin,
  vaultSession,
} from './vault-session.ts';

type VaultSecret = HashiCorpVault['secrets'][number];

/**
 * Parameters from HashiCorp Vault: `hashiCorpVault`. What is read from one place is read once, so that a certificate
 * and its key belong together. Unlike KEDA, what cannot be had is a Fault instead of an empty text.
 *
 * @throws Fault AUTH_MISSING, AUTH_FAILED, MANIFEST_INVALID, NOT_SUPPORTED
 */
export async function fromVault(spec: HashiCorpVault, ask: StoreAsk): Promise<Record<string, Secret>> {
  const login = vaultLogin(spec, ask);
  const read = new Map<string, Promise<Json>>();
  const found: Record<string, Secret> = {};
  for (const secret of spec.secrets) {
    const place = placeOf(secret);
    const key = JSON.stringify(place);
    const reading = read.get(key) ?? valuesAt(spec, secret, { login, ask });
    read.set(key, reading);
    const value = textAt(secret, await reading);
    if (value === undefined) throw withoutKey(spec, secret);
    found[secret.parameter] = new Secret(value);
  }
  return found;
}

function placeOf({ path, type = '', pkiData }: VaultSecret): readonly unknown[] {
  const plain = path.split('/').filter(part => part !== '');
  return type === 'pki' ? [plain, type, pkiRequest(pkiData)] : [plain, ''];
}

async function valuesAt(
  spec: HashiCorpVault,
  secret: VaultSecret,
  { login, ask }: { login: VaultLogin; ask: StoreAsk },
): Promise<Json> {
  // Also where the values are known: this is what keeps the session from ending. Where they are not, what is wrong
  // with it comes up again.
  await vaultSession(spec, login, ask).catch(() => undefined);
  return await storedValue(['vault', login.key, ...placeOf(secret)], hostOf(spec), {
    ask,
    fetch: stop => fetchValues(spec, secret, { login, ask: { ...ask, signal: stop } }),
  });
}

async function fetchValues(
  spec: HashiCorpVault,
  secret: VaultSecret,
  { login, ask }: { login: VaultLogin; ask: StoreAsk },
): Promise<Answered> {
  const { path, type, pkiData } = secret;
  const { stores, signal } = ask;
  const request =
    type === 'pki'
      ? { method: 'POST' as const, path, body: pkiRequest(pkiData) }
      : { method: 'GET' as const, path };
  const session = await vaultSession(spec, login, ask);
  const answer = await askVault(spec, { ...request, token: session.value.token }, { stores, signal }).catch(
    async (thrown: unknown) => {
      if (!(thrown instanceof VaultRefused)) throw thrown;
      // The session may have been ended from the other side, and only a new one tells.
      stores.sessions.drop(login.key, session);
      const { token } = (await vaultSession(spec, login, ask)).value;
      return await askVault(spec, { ...request, token }, { stores, signal });
    },
  );
  const data = recordOf(answer?.['data']);
  if (answer === undefined) throw new Fault('AUTH_MISSING', `${hostOf(spec)} has nothing at "${path}"`);
  if (data === undefined) {
    throw new Fault('AUTH_FAILED', `${hostOf(spec)} does not answer as Vault does at "${path}"`);
  }
  return { value: data, lifeMs: lifeOf(answer, data, stores.clock.now()) };
}

/** What Vault made for us alone ends with its lease, and a certificate when it says so. */
function lifeOf(answer: Json, data: Json, now: number): number | undefined {
  const lease = textOf(answer['lease_id']) === undefined ? 0 : Number(answer['lease_duration'] ?? 0);
  if (lease > 0) return lease * 1_000;
  const expiration = Number(data['expiration'] ?? 0);
  return textOf(data['certificate']) !== undefined && expiration * 1_000 > now
    ? expiration * 1_000 - now
    : undefined;
}

const pkiNames = {
  commonName: 'common_name',
  altNames: 'alt_names',
  ipSans: 'ip_sans',
  uriSans: 'uri_sans',
  otherSans: 'other_sans',
  ttl: 'ttl',
  format: 'format',
} as const satisfies Record<keyof NonNullable<VaultSecret['pkiData']>, string>;

function pkiRequest(pkiData: VaultSecret['pkiData']): Json {
  const given = Object.entries(pkiNames).flatMap(([name, vaultName]) => {
    const value = pkiData?.[name as keyof typeof pkiNames];
    return value ? [[vaultName, value] as const] : [];
  });
  return Object.fromEntries(given);
}

/** As KEDA, the values of a second version are told from those of a first by what surrounds them. */
function textAt({ key, type }: VaultSecret, data: Json): string | undefined {
  const versioned = type === 'secretV2' || !type ? recordOf(data['data']) : undefined;
  const values = versioned ?? (type === 'secretV2' ? {} : data);
  const value = Object.hasOwn(values, key) ? values[key] : undefined;
  // A chain of certificates.
  if (type === 'pki' && Array.isArray(value)) return value.join('\n');
  return typeof value === 'string' ? value : undefined;
}

function withoutKey(spec: HashiCorpVault, { parameter, key, path }: VaultSecret): Fault {
  const where = `key "${key}" at "${path}" of ${hostOf(spec)}`;
  return new Fault('AUTH_MISSING', `parameter "${parameter}" is ${where}, which is not there or is no text`);
}
