import { readFile } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import { Fault, faultOf } from '../base/errors.ts';
import { type HttpAnswer, type HttpClient, requireOk } from '../base/http.ts';
import { Secret, withoutSecrets } from '../base/secret.ts';
import { type Lent, lentFor } from './keeper.ts';

/** An application's request for a token, and how it proves that it is that application. */
export interface EntraGrant {
  /** The token endpoint of the tenant. */
  url: string;
  clientId: string;
  scope: string;
  proof: { clientSecret: Secret } | { clientAssertion: Secret };
}

/** The token endpoint of a tenant. */
export const tokenEndpoint = (authority: string | URL, tenantId: string): string =>
  new URL(`/${encodeURIComponent(tenantId)}/oauth2/v2.0/token`, authority).href;

/**
 * Asks Microsoft Entra for an access token, by OAuth's client credentials.
 *
 * @throws Fault AUTH_FAILED or CANCELLED
 */
export async function entraToken(
  { url, clientId, scope, proof }: EntraGrant,
  { http, clock, signal }: { http: HttpClient; clock: Clock; signal: AbortSignal },
): Promise<Lent<Secret>> {
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
        ...('clientSecret' in proof
          ? { client_secret: proof.clientSecret.reveal() }
          : {
              client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
              client_assertion: proof.clientAssertion.reveal(),
            }),
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
  if (answer.status !== 200) throw refused(answer, { host, json, now: askedAt, proof });
  const seconds = Number(json['expires_in']);
  const token = json['access_token'];
  if (typeof token !== 'string' || token === '' || !(seconds > 0)) {
    throw new Fault('AUTH_FAILED', `${host} answered without a token and its lifetime`);
  }
  return lentFor(new Secret(token), askedAt, seconds * 1_000);
}

/**
 * A token that somebody else keeps fresh in a file.
 *
 * @throws Fault AUTH_FAILED where it cannot be read
 */
export async function readAssertion(file: string, what: string): Promise<Secret> {
  try {
    return new Secret((await readFile(file, 'utf8')).trim());
  } catch (cause) {
    const { code = 'unknown' } = cause as NodeJS.ErrnoException;
    throw new Fault('AUTH_FAILED', `${what} ${file} cannot be read (${code})`, { cause });
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

interface Refusal {
  host: string;
  json: Readonly<Record<string, unknown>>;
  now: number;
  proof: EntraGrant['proof'];
}

function refused(answer: HttpAnswer, { host, json, now, proof }: Refusal): Fault {
  const description = json['error_description'] ?? json['error'];
  // Below the first line are trace ids and the time, which differ at every try.
  const first = typeof description === 'string' ? (description.split(/[\r\n]/)[0] ?? '') : '';
  const secret = 'clientSecret' in proof ? proof.clientSecret : proof.clientAssertion;
  const why = withoutSecrets(first, [secret.reveal()]);
  try {
    requireOk({ ...answer, body: Buffer.from(why) }, host, now);
    return new Fault('AUTH_FAILED', `${host} answered ${answer.status} instead of a token`);
  } catch (thrown) {
    const { message, retryAfterMs } = faultOf(thrown);
    return new Fault('AUTH_FAILED', message, retryAfterMs === undefined ? {} : { retryAfterMs });
  }
}
