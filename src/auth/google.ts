import { readFile } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import type { HttpClient } from '../base/http.ts';
import { signedJwt } from '../base/jwt.ts';
import { Keeper, type Lent } from '../base/keeper.ts';
import { Secret } from '../base/secret.ts';
import { exchange, type GoogleMeans, tokenOf } from './google-exchange.ts';
import { federatedToken } from './google-federation.ts';
import { type Json, jsonOf, textOf } from './provider-answer.ts';

/** The operator's own identity at Google, from its environment, by the names that Google's own libraries know. */
export interface GoogleOptions {
  /** GOOGLE_APPLICATION_CREDENTIALS, or where gcloud keeps those of a person. */
  credentialsFile?: string;
  /** GCE_METADATA_HOST */
  metadataHost?: string;
  /** CLOUDSDK_CORE_PROJECT */
  project?: string;
  /** CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER */
  secretManagerEndpoint?: string;
}

/** Access tokens of Google, each kept until it is nearly over. */
export interface Google extends Disposable {
  /** The operator's own. @throws Fault AUTH_FAILED, NOT_SUPPORTED or the reason of an aborted signal */
  ownToken(scope: string, signal: AbortSignal): Promise<Secret>;
  /** That of a service account with this key file. @throws the same */
  keyToken(keyFile: Secret, scope: string, signal: AbortSignal): Promise<Secret>;
  /** It was not accepted where it was used: who asks next waits for a new one. */
  refused(given: Secret): void;
  /** The project that the operator runs in. @throws the same */
  ownProject(signal: AbortSignal): Promise<string>;
}

const metadataAddress = 'metadata.google.internal';
const tokenAddress = 'https://oauth2.googleapis.com/token';
const metadataHeaders = { 'metadata-flavor': 'Google' };
const assertionSeconds = 3_600;

/** Opens nothing before the first token is asked for. */
export function google(
  options: GoogleOptions,
  { clock, http, direct }: { clock: Clock; http: HttpClient; direct: HttpClient },
): Google {
  const keeper = new Keeper<Secret>(clock);
  const projects = new Keeper<string>(clock);
  const metadata = (path: string) =>
    `http://${options.metadataHost || metadataAddress}/computeMetadata/v1/${path}`;

  async function own(scope: string, means: GoogleMeans): Promise<Lent<Secret>> {
    const { credentialsFile } = options;
    if (credentialsFile) return await fromOwnFile(credentialsFile, scope, means);
    const path = `instance/service-accounts/default/token?scopes=${encodeURIComponent(scope)}`;
    const now = clock.now();
    const answer = await direct.send({
      url: metadata(path),
      headers: metadataHeaders,
      signal: means.signal,
      maxBytes: 64 * 1024,
    });
    return tokenOf(answer, { host: new URL(metadata('')).host, now, secrets: [] });
  }

  return {
    async ownToken(scope, signal) {
      const fetch = (stop: AbortSignal) => own(scope, { http, clock, signal: stop });
      return (await keeper.get(`own ${scope}`, { fetch, host: 'Google', signal })).value;
    },
    async keyToken(keyFile, scope, signal) {
      const fetch = (stop: AbortSignal) =>
        byServiceAccount(keyFileOf(keyFile), scope, { http, clock, signal: stop });
      const key = `key ${keyFile.fingerprint()} ${scope}`;
      return (await keeper.get(key, { fetch, host: 'Google', signal })).value;
    },
    async ownProject(signal) {
      if (options.project) return options.project;
      const fetch = async (stop: AbortSignal): Promise<Lent<string>> => {
        const url = metadata('project/project-id');
        const answer = await direct.send({ url, headers: metadataHeaders, signal: stop, maxBytes: 1024 });
        const value = answer.body.toString('utf8').trim();
        if (answer.status !== 200 || value === '') {
          throw new Fault(
            'AUTH_FAILED',
            `${new URL(url).host} answered ${answer.status} instead of a project`,
          );
        }
        return { value, renewAt: Number.POSITIVE_INFINITY, endsAt: Number.POSITIVE_INFINITY };
      };
      return (await projects.get('own', { fetch, host: 'Google', signal })).value;
    },
    refused: token => keeper.refused(token),
    [Symbol.dispose]() {
      keeper[Symbol.dispose]();
      projects[Symbol.dispose]();
    },
  };
}

/** What a key file of a service account says. */
export interface ServiceAccountKey {
  email: string;
  privateKey: Secret;
  privateKeyId: string | undefined;
  tokenUri: string;
  project: string | undefined;
}

/**
 * Reads a key file. Only those of service accounts are taken: other kinds may name files and addresses that are
 * not for a manifest to choose.
 *
 * @throws Fault AUTH_FAILED
 */
export function keyFileOf(keyFile: Secret): ServiceAccountKey {
  const json = jsonOf({ body: Buffer.from(keyFile.reveal()) });
  const [email, privateKey] = [textOf(json['client_email']), textOf(json['private_key'])];
  if (json['type'] !== 'service_account' || email === undefined || privateKey === undefined) {
    throw new Fault('AUTH_FAILED', 'the credentials are not the key file of a service account of Google');
  }
  return {
    email,
    privateKey: new Secret(privateKey),
    privateKeyId: textOf(json['private_key_id']),
    tokenUri: textOf(json['token_uri']) ?? tokenAddress,
    project: textOf(json['project_id']),
  };
}

/** @see https://developers.google.com/identity/protocols/oauth2/service-account#httprest */
async function byServiceAccount(
  key: ServiceAccountKey,
  scope: string,
  means: GoogleMeans,
): Promise<Lent<Secret>> {
  const iat = Math.floor(means.clock.now() / 1_000);
  const claims = { iss: key.email, scope, aud: key.tokenUri, iat, exp: iat + assertionSeconds };
  const header = key.privateKeyId === undefined ? {} : { kid: key.privateKeyId };
  const assertion = signedJwt(claims, key.privateKey, header);
  const form = {
    grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
    assertion: assertion.reveal(),
  };
  return await exchange(key.tokenUri, form, { ...means, secrets: [assertion] });
}

async function fromOwnFile(file: string, scope: string, means: GoogleMeans): Promise<Lent<Secret>> {
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new Fault('AUTH_FAILED', `the credentials file ${file} cannot be read (${cause.code})`, { cause });
  });
  const json = jsonOf({ body: Buffer.from(text) });
  switch (json['type']) {
    case 'service_account':
      return await byServiceAccount(keyFileOf(new Secret(text)), scope, means);
    case 'external_account':
      return await federatedToken(json, scope, means);
    case 'authorized_user':
      return await byRefreshToken(json, means);
    default: {
      const known = 'service_account, external_account or authorized_user';
      throw new Fault('NOT_SUPPORTED', `the credentials file ${file} is not one of type ${known}`);
    }
  }
}

async function byRefreshToken(json: Json, means: GoogleMeans): Promise<Lent<Secret>> {
  const [secret, token] = [textOf(json['client_secret']) ?? '', textOf(json['refresh_token']) ?? ''];
  const form = {
    grant_type: 'refresh_token',
    client_id: textOf(json['client_id']) ?? '',
    client_secret: secret,
    refresh_token: token,
  };
  return await exchange(tokenAddress, form, { ...means, secrets: [new Secret(secret), new Secret(token)] });
}
