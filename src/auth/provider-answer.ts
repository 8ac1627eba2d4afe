import { Fault } from '../base/errors.ts';
import { type HttpAnswer, retryAfterOf } from '../base/http.ts';
import { type Secret, withoutSecrets } from '../base/secret.ts';

export type Json = Readonly<Record<string, unknown>>;

/** The JSON object of an answer; an empty one for anything else. */
export function jsonOf({ body }: Pick<HttpAnswer, 'body'>): Json {
  try {
    return recordOf(JSON.parse(body.toString('utf8'))) ?? {};
  } catch {
    return {};
  }
}

/** Undefined for what is no JSON object. */
export const recordOf = (value: unknown): Json | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined;

/** Undefined for what is no text, or an empty one. */
export const textOf = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value : undefined;

interface Refusal {
  host: string;
  /** What was asked for, such as `a token`. */
  what: string;
  /** What the provider says, as it says it; only the first line is repeated. */
  why: string | undefined;
  /** What it was sent, which it might quote. */
  secrets: readonly Secret[];
  /** Epoch milliseconds. */
  now: number;
}

/** That a provider of credentials gave none, with how long it wants to be left alone where it says so. */
export function refusalOf(answer: HttpAnswer, { host, what, why, secrets, now }: Refusal): Fault {
  // Below the first line are trace ids and the time, which differ at every try.
  const first = (why ?? '').split(/[\r\n]/)[0] ?? '';
  const told = withoutSecrets(
    first,
    secrets.map(secret => secret.reveal()),
  ).slice(0, 200);
  const message = `${host} answered ${answer.status}${told === '' ? ` instead of ${what}` : `: ${told}`}`;
  const retryAfterMs = retryAfterOf(answer, now);
  return new Fault('AUTH_FAILED', message, retryAfterMs === undefined ? {} : { retryAfterMs });
}
