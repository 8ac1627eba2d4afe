import { readFile } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import { Fault, faultOf } from '../base/errors.ts';
import type { HttpClient } from '../base/http.ts';
import { type Lent, lentFor } from '../base/keeper.ts';
import { Secret } from '../base/secret.ts';
import { jsonOf, refusalOf, textOf } from './provider-answer.ts';

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
  const json = jsonOf(answer);
  const host = new URL(url).host;
  if (answer.status !== 200) {
    const why = textOf(json['error_description']) ?? textOf(json['error']);
    throw refusalOf(answer, { host, what: 'a token', why, secrets: Object.values(proof), now: askedAt });
  }
  const seconds = Number(json['expires_in']);
  const token = textOf(json['access_token']);
  if (token === undefined || !(seconds > 0)) {
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
