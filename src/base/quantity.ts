const suffixes: Record<string, number> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/**
 * Parses a Kubernetes quantity such as `100m`, `1.5Gi` or `2e3` into a plain number.
 * Returns undefined where Kubernetes would refuse.
 */
export function parseQuantity(text: string): number | undefined {
  const match = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei))?$/.exec(
    text,
  );
  if (match === null) return undefined;
  const [, digits = '', exponent = '', suffix = ''] = match;
  return Number(digits + exponent) * (suffixes[suffix] ?? Number.NaN);
}

/**
 * Writes a number as a Kubernetes quantity: whole numbers as they are, others in thousandths (`2500m`) or, where
 * that is too coarse, in billionths, rounded up as Kubernetes rounds. What is negative or no number becomes `0`.
 */
export function formatQuantity(value: number): string {
  if (!(value > 0) || value === Number.POSITIVE_INFINITY) return '0';
  if (Number.isInteger(value)) return String(value);
  const milli = value * 1000;
  const near = Math.round(milli);
  return Math.abs(milli - near) <= near * 1e-12 ? `${near}m` : `${Math.ceil(value * 1e9 * (1 - 1e-12))}n`;
}
