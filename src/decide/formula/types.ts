/**
 * What the checker knows of a value before it is there. `unknown` and `any` both say "only the moment will tell";
 * they differ as in expr: a known type may stand in for `any` (an element of a mixed array) but not for `unknown`.
 * `holds` is what expr's Go slice holds and decides which arrays may stand in for each other; `element` is what the
 * checker knows beyond it.
 */
export type Type =
  | { kind: 'unknown' | 'any' | 'nil' | 'int' | 'float' | 'bool' | 'string' }
  | { kind: 'array'; holds: 'any' | 'string'; element?: Type }
  | { kind: 'map'; key: 'any' | 'string'; value: 'any' | 'array' };

export const unknown: Type = { kind: 'unknown' };
export const any: Type = { kind: 'any' };
export const nil: Type = { kind: 'nil' };
export const int: Type = { kind: 'int' };
export const float: Type = { kind: 'float' };
export const bool: Type = { kind: 'bool' };
export const string: Type = { kind: 'string' };
export const array: Type = { kind: 'array', holds: 'any' };
export const strings: Type = { kind: 'array', holds: 'string' };
export const map: Type = { kind: 'map', key: 'string', value: 'any' };
export const pairsMap: Type = { kind: 'map', key: 'any', value: 'any' };
export const groups: Type = { kind: 'map', key: 'any', value: 'array' };

/** Whether only the moment will tell what the value is. */
export const isUnknown = ({ kind }: Type): boolean => kind === 'unknown' || kind === 'any';
/** Whether it is an int or a float for certain. */
export const isNumber = ({ kind }: Type): boolean => kind === 'int' || kind === 'float';

/** An array of which the element's type is known. */
export function arrayOf(element: Type): Type {
  return { kind: 'array', holds: 'any', element };
}

/** What indexing an array gives. */
export function elementOf(type: Type): Type {
  if (type.kind === 'array') return type.element ?? (type.holds === 'string' ? string : any);
  if (type.kind === 'map') return type.value === 'array' ? array : any;
  return unknown;
}

/** The same type without what the checker knows beyond Go's own type of it. */
export function bare(type: Type): Type {
  if (isUnknown(type)) return any;
  return type.kind === 'array' ? { kind: 'array', holds: type.holds } : type;
}

/** Whether expr lets a value of one type stand where another is wanted. */
export function assignable(from: Type, to: Type): boolean {
  if (from.kind === 'nil') return to.kind === 'any' || to.kind === 'array' || to.kind === 'map';
  if (from.kind === 'unknown' || to.kind === 'unknown' || to.kind === 'nil') return false;
  if (to.kind === 'any') return true;
  if (from.kind === 'array' && to.kind === 'array') return from.holds === to.holds;
  if (from.kind === 'map' && to.kind === 'map') return from.key === to.key && from.value === to.value;
  return from.kind === to.kind;
}

/** Whether `==` between the two can be anything but a mistake. */
export function comparable(left: Type, right: Type): boolean {
  return (
    isUnknown(left) ||
    isUnknown(right) ||
    left.kind === 'nil' ||
    right.kind === 'nil' ||
    (isNumber(left) && isNumber(right)) ||
    (left.kind === 'array' && right.kind === 'array') ||
    assignable(left, right)
  );
}

/** The type in the words of a message. */
export function typeName(type: Type): string {
  if (isUnknown(type)) return 'unknown';
  if (type.kind === 'array' && type.element !== undefined) return `array of ${typeName(type.element)}`;
  return type.kind === 'array' && type.holds === 'string' ? 'array of string' : type.kind;
}
