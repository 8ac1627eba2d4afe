const digits = '\\d+(_\\d+)*';
const decimal = new RegExp(`^[-+]?(${digits}\\.?(${digits})?|\\.${digits})(e[-+]?\\d+)?$`, 'i');

/**
 * A decimal number as Go's `ParseFloat` reads it, and so KEDA: the whole text, without blanks, with digits in groups
 * (`1_000`) or not. Undefined for what is none, and for hexadecimal ones.
 */
export function decimalOf(text: string): number | undefined {
  return decimal.test(text) ? Number(text.replaceAll('_', '')) : undefined;
}
