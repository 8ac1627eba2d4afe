import { Fault } from '../../base/errors.ts';

interface Told {
  status?: unknown;
  data?: { resultType?: unknown; result?: unknown };
}

/**
 * The number in an answer of Prometheus's `/api/v1/query`: a vector of one element, or a scalar (which KEDA
 * cannot read). An answer that is no such answer is never a 0.
 *
 * @param host names the server in sentences
 * @param ignoreNullValues no element, NaN and infinity count as 0 rather than as a fault, as in KEDA
 * @throws Fault SOURCE_NOT_FOUND where nothing came out, SOURCE_ANSWER_INVALID
 */
export function parseInstantQuery(body: Buffer, host: string, ignoreNullValues: boolean): number {
  const result = resultOf(body, host);
  if (result.length === 0) {
    if (ignoreNullValues) return 0;
    throw new Fault('SOURCE_NOT_FOUND', `${host} has no data for the query`);
  }
  if (result.length > 1) {
    const sentence = `${host} gave ${result.length} elements for the query, which must give one: aggregate, such as with sum(…)`;
    throw new Fault('SOURCE_ANSWER_INVALID', sentence);
  }
  const value = numberOf(result[0]);
  if (value === undefined)
    throw new Fault('SOURCE_ANSWER_INVALID', `${host} gave an element without a number`);
  if (Number.isFinite(value)) return value;
  if (ignoreNullValues) return 0;
  throw new Fault('SOURCE_ANSWER_INVALID', `${host} gave ${value} for the query`);
}

/** The elements' `[time, text]` pairs. */
function resultOf(body: Buffer, host: string): unknown[] {
  let told: Told | null;
  try {
    told = JSON.parse(body.toString('utf8')) as Told | null;
  } catch (cause) {
    throw new Fault('SOURCE_ANSWER_INVALID', `${host} did not answer with JSON`, { cause });
  }
  const { resultType, result } = told?.data ?? {};
  if (told?.status !== 'success' || !Array.isArray(result)) {
    throw new Fault('SOURCE_ANSWER_INVALID', `${host} did not answer as a Prometheus query API does`);
  }
  if (resultType === 'scalar') return [result];
  if (resultType !== 'vector' && result.length > 0) {
    const sentence = `${host} gave a ${String(resultType)}; the query must give an instant vector or a scalar`;
    throw new Fault('SOURCE_ANSWER_INVALID', sentence);
  }
  return result.map(element => (element as { value?: unknown } | null)?.value);
}

/** NaN where KEDA takes the value for null; undefined where it is no value at all. */
function numberOf(pair: unknown): number | undefined {
  if (!Array.isArray(pair)) return undefined;
  const text: unknown = pair[1];
  if (pair.length === 0 || text === null) return Number.NaN;
  if (typeof text !== 'string') return undefined;
  const value = parsePrometheusNumber(text);
  // Too many digits are no infinity.
  return value !== undefined && !Number.isFinite(value) && /\d/.test(text) ? undefined : value;
}

/** A sample value as Prometheus writes it, `+Inf` and `NaN` included; undefined where it is none. */
export function parsePrometheusNumber(text: string): number | undefined {
  if (/^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text)) return Number(text);
  const special = /^([+-]?)(?:(inf(?:inity)?)|(nan))$/i.exec(text);
  if (special === null) return undefined;
  if (special[3] !== undefined) return Number.NaN;
  return special[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
}
