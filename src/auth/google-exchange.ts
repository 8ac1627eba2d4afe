import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import type { HttpAnswer, HttpClient } from '../base/http.ts';
import { type Lent, lentFor } from '../base/keeper.ts';
import { Secret } from '../base/secret.ts';
import { type Json, jsonOf, recordOf, refusalOf, textOf } from './provider-answer.ts';

/** What asking Google takes. */
export interface GoogleMeans {
  http: HttpClient;
  clock: Clock;
  signal: AbortSignal;
}

/**
 * Asks a token endpoint of OAuth, with a form.
 *
 * @throws Fault AUTH_FAILED, or what the client throws
 */
export async function exchange(
  url: string,
  form: Readonly<Record<string, string>>,
  { http, clock, signal, secrets }: GoogleMeans & { secrets: readonly Secret[] },
): Promise<Lent<Secret>> {
  const now = clock.now();
  const answer = await http.send({
    method: 'POST',
    url,
    headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
    body: new URLSearchParams(form).toString(),
    maxBytes: 256 * 1024,
    signal,
  });
  return tokenOf(answer, { host: new URL(url).host, now, secrets });
}

/**
 * The token of an answer of OAuth.
 *
 * @param now when it was asked for, in epoch milliseconds
 * @throws Fault AUTH_FAILED
 */
export function tokenOf(
  answer: HttpAnswer,
  { host, now, secrets }: { host: string; now: number; secrets: readonly Secret[] },
): Lent<Secret> {
  const json = jsonOf(answer);
  if (answer.status !== 200) {
    const why = textOf(json['error_description']) ?? textOf(json['error']) ?? messageOf(json);
    throw refusalOf(answer, { host, what: 'a token', why, secrets, now });
  }
  const [token, seconds] = [textOf(json['access_token']), Number(json['expires_in'])];
  if (token === undefined || !(seconds > 0)) {
    throw new Fault('AUTH_FAILED', `${host} answered without a token and its lifetime`);
  }
  return lentFor(new Secret(token), now, seconds * 1_000);
}

/** What an error of Google's APIs says. */
export const messageOf = (json: Json): string | undefined => textOf(recordOf(json['error'])?.['message']);
