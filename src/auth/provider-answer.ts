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

/**
 * Whether a store says itself that there is no such thing. What stands in front of it says 404 as well, while the
 * store is down; then what was had of it is as good as before.
 *
 * @param saying the field that only the store's own answer has
 */
export const saysMissing = (answer: HttpAnswer, json: Json, saying: string): boolean =>
  answer.status === 404 && json[saying] !== undefined;

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
