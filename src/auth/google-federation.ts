import { readFile } from 'node:fs/promises';
import { Fault } from '../base/errors.ts';
import { type Lent, lentFor } from '../base/keeper.ts';
import { Secret } from '../base/secret.ts';
import { exchange, type GoogleMeans, messageOf } from './google-exchange.ts';
import { type Json, jsonOf, recordOf, refusalOf, textOf } from './provider-answer.ts';

const federationScope = 'https://www.googleapis.com/auth/cloud-platform';

/**
 * An access token by workload identity federation: a token of somebody whom Google trusts is exchanged for one of
 * Google's, and that for one of a service account where the file says so. The file is the operator's own, never
 * one of a manifest, since it names files and addresses.
 *
 * @param config the credentials file of type `external_account`
 * @throws Fault AUTH_FAILED, NOT_SUPPORTED or what the client throws
 * @see https://google.aip.dev/auth/4117
 */
export async function federatedToken(config: Json, scope: string, means: GoogleMeans): Promise<Lent<Secret>> {
  const subject = await subjectToken(recordOf(config['credential_source']) ?? {}, means);
  const impersonated = textOf(config['service_account_impersonation_url']);
  const token = await exchange(
    textOf(config['token_url']) ?? 'https://sts.googleapis.com/v1/token',
    {
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      audience: textOf(config['audience']) ?? '',
      scope: impersonated === undefined ? scope : federationScope,
      requested_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      subject_token_type: textOf(config['subject_token_type']) ?? 'urn:ietf:params:oauth:token-type:jwt',
      subject_token: subject.reveal(),
    },
    { ...means, secrets: [subject] },
  );
  return impersonated === undefined
    ? token
    : await impersonate(impersonated, { token: token.value, scope }, means);
}

async function subjectToken(source: Json, { http, signal }: GoogleMeans): Promise<Secret> {
  const [file, url] = [textOf(source['file']), textOf(source['url'])];
  let text: string;
  if (file !== undefined) {
    text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
      throw new Fault('AUTH_FAILED', `the token file ${file} cannot be read (${cause.code})`, { cause });
    });
  } else if (url !== undefined) {
    const headers = Object.fromEntries(
      Object.entries(recordOf(source['headers']) ?? {}).map(([name, value]) => [name, String(value)]),
    );
    const answer = await http.send({ url, headers, signal, maxBytes: 256 * 1024 });
    if (answer.status !== 200) {
      throw new Fault('AUTH_FAILED', `${new URL(url).host} answered ${answer.status} instead of a token`);
    }
    text = answer.body.toString('utf8');
  } else {
    const known = 'a file or a url';
    throw new Fault('NOT_SUPPORTED', `the credential_source of the credentials file has neither ${known}`);
  }
  const format = recordOf(source['format']);
  const field = format?.['type'] === 'json' ? textOf(format['subject_token_field_name']) : undefined;
  const token = field === undefined ? text.trim() : textOf(jsonOf({ body: Buffer.from(text) })[field]);
  if (!token) throw new Fault('AUTH_FAILED', 'the credential_source of the credentials file holds no token');
  return new Secret(token);
}

/** @see https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken */
async function impersonate(
  url: string,
  { token, scope }: { token: Secret; scope: string },
  { http, clock, signal }: GoogleMeans,
): Promise<Lent<Secret>> {
  const now = clock.now();
  const answer = await http.send({
    method: 'POST',
    url,
    headers: { authorization: `Bearer ${token.reveal()}`, 'content-type': 'application/json' },
    body: JSON.stringify({ scope: [scope] }),
    maxBytes: 256 * 1024,
    signal,
  });
  const { host } = new URL(url);
  const json = jsonOf(answer);
  if (answer.status !== 200) {
    throw refusalOf(answer, { host, what: 'a token', why: messageOf(json), secrets: [token], now });
  }
  const [value, endsAt] = [textOf(json['accessToken']), Date.parse(textOf(json['expireTime']) ?? '')];
  if (value === undefined || !(endsAt > now)) {
    throw new Fault('AUTH_FAILED', `${host} answered without a token and its end`);
  }
  return lentFor(new Secret(value), now, endsAt - now);
}
