/** How a wait grows from failure to failure. All times in milliseconds. */
export interface Backoff {
  firstMs: number;
  maxMs: number;
  /** Growth per failure; 2 unless told. */
  factor?: number;
}

/**
 * The wait before the next try after `failures` failures in a row (1 or more): exponential, capped, and spread
 * over the upper half of its range so that many that failed together do not come back together.
 *
 * @param random a number in [0, 1)
 */
export function backoffMs(backoff: Backoff, failures: number, random: () => number = Math.random): number {
  const grown = backoff.firstMs * (backoff.factor ?? 2) ** Math.max(0, failures - 1);
  const capped = Math.min(backoff.maxMs, grown);
  return capped / 2 + (capped / 2) * random();
}
