import { crc32c } from '../base/crc32c.ts';
import { Fault } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import type { TriggerAuthenticationSpec } from '../spec/trigger-authentication.ts';
import { keyFileOf } from './google.ts';
import { messageOf } from './google-exchange.ts';
import { jsonOf, recordOf, refusalOf, saysMissing, textOf } from './provider-answer.ts';
import { fromSecrets } from './secret.ts';
import { type Answered, askWithToken, type Caller, type StoreAsk, storedValue } from './stores.ts';

export type GcpSecretManager = NonNullable<TriggerAuthenticationSpec['gcpSecretManager']>;
type GcpSecret = GcpSecretManager['secrets'][number];

const scope = 'https://www.googleapis.com/auth/cloud-platform';
const address = 'https://secretmanager.googleapis.com/';

/** Who asks, and in which project. */
interface Who extends Caller<Secret> {
  project: string;
}

/**
 * Parameters from Google's Secret Manager: `gcpSecretManager`, as a service account by its key file, in the project
 * of that, or by the pod identity `gcp` in the operator's own. Unlike KEDA, what cannot be had is a Fault.
 *
 * @throws Fault AUTH_MISSING, AUTH_FAILED, MANIFEST_INVALID
 */
export async function fromGoogleSecretManager(
  spec: GcpSecretManager,
  ask: StoreAsk,
): Promise<Record<string, Secret>> {
  const base = ask.stores.options.google.secretManagerEndpoint || address;
  const who = await whoAsks(spec, ask);
  const found: Record<string, Secret> = {};
  for (const secret of spec.secrets) {
    const { id, version } = secret;
    const path = [who.project, id, version || 'latest'].map(encodeURIComponent);
    const url = new URL(`/v1/projects/${path[0]}/secrets/${path[1]}/versions/${path[2]}:access`, base).href;
    const { value } = await storedValue(['google', who.key, url], new URL(url).host, {
      ask,
      fetch: stop => fetchSecret(secret, { url, who, ask: { ...ask, signal: stop } }),
    });
    found[secret.parameter] = new Secret(textOf(value) ?? '');
  }
  return found;
}

async function whoAsks({ credentials, podIdentity }: GcpSecretManager, ask: StoreAsk): Promise<Who> {
  const { tokens } = ask.stores;
  if (podIdentity?.provider === 'gcp') {
    return {
      key: 'own',
      project: await tokens.googleProject(ask.signal),
      grant: signal => tokens.accessToken({ provider: 'gcp' }, scope, signal),
      refused: token => tokens.refused(token),
    };
  }
  if (podIdentity !== undefined && podIdentity.provider !== 'none') {
    const sentence = `gcpSecretManager of ${ask.of} does not know the pod identity ${podIdentity.provider}`;
    throw new Fault('MANIFEST_INVALID', `${sentence}; gcp is right`);
  }
  const reference = credentials?.clientSecret.valueFrom.secretKeyRef;
  if (reference === undefined) {
    throw new Fault(
      'MANIFEST_INVALID',
      `gcpSecretManager of ${ask.of} has neither credentials nor a podIdentity`,
    );
  }
  const wanted = { parameter: 'clientSecret', ...reference };
  const { clientSecret: keyFile = new Secret('') } = await fromSecrets([wanted], ask.namespace, ask.lookup);
  const { project } = keyFileOf(keyFile);
  if (project === undefined) {
    throw new Fault('AUTH_FAILED', `the key file of gcpSecretManager of ${ask.of} has no project_id`);
  }
  return {
    key: keyFile.fingerprint(),
    project,
    grant: signal => tokens.googleToken(keyFile, scope, signal),
    refused: token => tokens.refused(token),
  };
}

/** @see https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access */
async function fetchSecret(
  { id }: GcpSecret,
  { url, who, ask }: { url: string; who: Who; ask: StoreAsk },
): Promise<Answered> {
  const now = ask.stores.clock.now();
  const { answer, grant } = await askWithToken(who, url, ask);
  const json = jsonOf(answer);
  const { host } = new URL(url);
  if (saysMissing(answer, json, 'error')) {
    const why = messageOf(json) ?? 'not found';
    throw new Fault('AUTH_MISSING', `${host} has no secret "${id}" in project "${who.project}": ${why}`);
  }
  const payload = recordOf(json['payload']);
  const { data: encoded = '' } = payload ?? {};
  if (answer.status !== 200 || payload === undefined || typeof encoded !== 'string') {
    throw refusalOf(answer, { host, what: `secret "${id}"`, why: messageOf(json), secrets: [grant], now });
  }
  const data = Buffer.from(encoded, 'base64');
  const sum = textOf(payload['dataCrc32c']);
  if (sum !== undefined && Number(sum) !== crc32c(data)) {
    throw new Fault('AUTH_FAILED', `${host} answered secret "${id}" with a wrong checksum`);
  }
  return { value: { value: data.toString('utf8') } };
}
