import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import type { HttpClient } from '../base/http.ts';
import { type Lent, lentFor } from '../base/keeper.ts';
import { Secret } from '../base/secret.ts';
import { type AwsCredentials, signedHeaders } from '../base/sigv4.ts';
import { type AwsPlace, awsEndpoint, elementOf } from './aws-api.ts';
import { refusalOf } from './provider-answer.ts';

export interface StsMeans {
  http: HttpClient;
  clock: Clock;
  signal: AbortSignal;
  place: AwsPlace;
  /** Where to ask; the operator's own region unless given. */
  region: string | undefined;
}

/** How our sessions are named in the logs of AWS; KEDA's name, for policies ask for it. */
const sessionName = 'KEDA';
const anywhere = 'us-east-1';

/**
 * Assumes a role that trusts our service account.
 *
 * @param token that of the service account
 * @throws Fault AUTH_FAILED, MANIFEST_INVALID
 */
export async function assumeByWebIdentity(
  { roleArn, session = sessionName, token }: { roleArn: string; session?: string | undefined; token: Secret },
  means: StsMeans,
): Promise<Lent<AwsCredentials>> {
  const form = {
    Action: 'AssumeRoleWithWebIdentity',
    RoleArn: roleArn,
    RoleSessionName: session,
    WebIdentityToken: token.reveal(),
  };
  return await ask(form, means, { secrets: [token], what: `role ${roleArn}` });
}

/**
 * Assumes a role that trusts the one we have.
 *
 * @throws Fault AUTH_FAILED, MANIFEST_INVALID
 */
export async function assumeRole(
  { roleArn, externalId, by }: { roleArn: string; externalId: string | undefined; by: AwsCredentials },
  means: StsMeans,
): Promise<Lent<AwsCredentials>> {
  const form = {
    Action: 'AssumeRole',
    RoleArn: roleArn,
    RoleSessionName: sessionName,
    ...(externalId ? { ExternalId: externalId } : {}),
  };
  return await ask(form, means, { secrets: [], what: `role ${roleArn}`, by });
}

async function ask(
  form: Record<string, string>,
  { http, clock, signal, place, region: asked }: StsMeans,
  { secrets, what, by }: { secrets: readonly Secret[]; what: string; by?: AwsCredentials },
): Promise<Lent<AwsCredentials>> {
  const region = asked || place.region || anywhere;
  // What is no region is refused, whether or not it becomes part of the address.
  const regional = awsEndpoint('sts', region);
  const url = place.stsEndpoint || (asked || place.region ? regional : 'https://sts.amazonaws.com/');
  const body = new URLSearchParams({ ...form, Version: '2011-06-15' }).toString();
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const now = clock.now();
  const request = { method: 'POST' as const, url, headers, body };
  const answer = await http.send({
    ...request,
    ...(by === undefined
      ? {}
      : { headers: signedHeaders(request, { credentials: by, region, service: 'sts', now }) }),
    maxBytes: 256 * 1024,
    signal,
  });
  const xml = answer.body.toString('utf8');
  const { host } = new URL(url);
  if (answer.status !== 200) {
    const why = [elementOf(xml, 'Code'), elementOf(xml, 'Message')].filter(Boolean).join(': ');
    throw refusalOf(answer, { host, what: 'keys', why: why && `${what}: ${why}`, secrets, now });
  }
  return credentialsOf(
    {
      accessKeyId: elementOf(xml, 'AccessKeyId'),
      secretAccessKey: elementOf(xml, 'SecretAccessKey'),
      sessionToken: elementOf(xml, 'SessionToken'),
      expiration: elementOf(xml, 'Expiration'),
    },
    host,
    now,
  );
}

/**
 * Keys as they were answered, by whatever names.
 *
 * @param now when they were asked for, in epoch milliseconds
 * @throws Fault AUTH_FAILED where anything of them is missing
 */
export function credentialsOf(
  given: Readonly<
    Record<'accessKeyId' | 'secretAccessKey' | 'sessionToken' | 'expiration', string | undefined>
  >,
  host: string,
  now: number,
): Lent<AwsCredentials> {
  const { accessKeyId, secretAccessKey, sessionToken, expiration } = given;
  const endsAt = Date.parse(expiration ?? '');
  if (!accessKeyId || !secretAccessKey || !(endsAt > now)) {
    throw new Fault('AUTH_FAILED', `${host} answered without keys and their end`);
  }
  const credentials = {
    accessKeyId,
    secretAccessKey: new Secret(secretAccessKey),
    ...(sessionToken ? { sessionToken: new Secret(sessionToken) } : {}),
  };
  return lentFor(credentials, now, endsAt - now);
}
