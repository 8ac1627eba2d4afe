import type { Fault } from '../base/errors.ts';

/**
 * What a source said about a trigger at a moment (`at`, epoch milliseconds), or why it could not. There is no
 * number in a failed one: unknown is not zero.
 */
export type Reading =
  | { ok: true; value: number; active: boolean; at: number }
  | { ok: false; fault: Fault; at: number };

/**
 * What a decision works with once fallback had its say: the value that was read, the value that stands in for
 * it, nothing that a formula may replace (`absent`), or nothing at all (`unknown`).
 */
export type Answer =
  | { kind: 'read'; value: number; active: boolean; at: number }
  | { kind: 'fallback'; value: number; replicas: number; fault: Fault; at: number }
  | { kind: 'absent'; fault: Fault; at: number }
  | { kind: 'unknown'; fault: Fault; at: number };

const maxInt64 = 2 ** 63;

/**
 * A value as the HPA is told it: three decimals, and 0 for what is negative or no number, as KEDA reports it.
 * A source that has no value to give is a failed Reading, not a NaN.
 */
export function reportedValue(value: number): number {
  return toMilli(value) / 1000;
}

/** A value in thousandths, the unit the HPA computes in; 0 for what is negative or no number. */
export function toMilli(value: number): number {
  if (!(value > 0) || value === Number.POSITIVE_INFINITY) return 0;
  return Math.min(Math.round(value * 1000), maxInt64);
}
