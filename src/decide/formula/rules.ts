import { Misspelling } from './lexer.ts';
import type { NodeOf } from './syntax.ts';
import {
  array,
  arrayOf,
  assignable,
  bool,
  comparable,
  elementOf,
  float,
  int,
  isNumber,
  isUnknown,
  nil,
  string,
  type Type,
  typeName,
  unknown,
} from './types.ts';

/** What a built-in gives that asks its predicate for a yes or no. */
export function searchType(name: string, over: Type): Type {
  switch (name) {
    case 'count':
    case 'findIndex':
    case 'findLastIndex':
      return int;
    case 'filter':
      return isUnknown(over) ? array : arrayOf(elementOf(over));
    case 'find':
    case 'findLast':
      return isUnknown(over) ? unknown : elementOf(over);
    default:
      return bool;
  }
}

/** The type of a value as written. */
export function literalType(value: NodeOf<'literal'>['value']): Type {
  switch (typeof value) {
    case 'boolean':
      return bool;
    case 'bigint':
      return int;
    case 'number':
      return float;
    case 'string':
      return string;
    default:
      return nil;
  }
}

/** The type of `in`, or a `Misspelling` where it cannot be. */
export function checkIn(left: Type, right: Type, at: number): Type {
  if (right.kind === 'map') {
    if (isUnknown(left) || right.key === 'any' || left.kind === 'string') return bool;
    throw new Misspelling(`this map has strings as keys, not ${typeName(left)}`, at);
  }
  if (right.kind === 'array') {
    if (comparable(left, elementOf(right))) return bool;
    throw new Misspelling(`${typeName(left)} cannot be in ${typeName(right)}`, at);
  }
  if (isUnknown(right) || (isUnknown(left) && right.kind === 'string')) return bool;
  throw new Misspelling(`in needs an array or a map at its right, not ${typeName(right)}`, at);
}

/** The type an operator gives between two others, or undefined where it cannot stand. */
export function binaryType(op: NodeOf<'binary'>['op'], left: Type, right: Type): Type | undefined {
  const both = (...kinds: Type['kind'][]): boolean => kinds.includes(left.kind) && kinds.includes(right.kind);
  const perhaps = (...kinds: Type['kind'][]): boolean =>
    (isUnknown(left) && (isUnknown(right) || kinds.includes(right.kind))) ||
    (isUnknown(right) && kinds.includes(left.kind));
  const numbers = isNumber(left) && isNumber(right);
  switch (op) {
    case '==':
    case '!=':
      return comparable(left, right) ? bool : undefined;
    case '&&':
    case '||':
      return both('bool') || perhaps('bool') ? bool : undefined;
    case '<':
    case '>':
    case '<=':
    case '>=':
      return numbers || both('string') || perhaps('int', 'float', 'string') ? bool : undefined;
    case '+':
      if (both('string')) return string;
      if (numbers) return both('int') ? int : float;
      return perhaps('int', 'float', 'string') ? unknown : undefined;
    case '-':
    case '*':
      if (numbers) return both('int') ? int : float;
      return perhaps('int', 'float') ? unknown : undefined;
    case '/':
    case '**':
      return numbers || perhaps('int', 'float') ? float : undefined;
    case '%':
      return both('int') || perhaps('int') ? int : undefined;
    case '..':
      return both('int') || perhaps('int') ? arrayOf(int) : undefined;
    case 'matches':
    case 'contains':
    case 'startsWith':
    case 'endsWith':
      return both('string') || perhaps('string') ? bool : undefined;
    case '??':
      if (left.kind === 'nil') return right;
      if (right.kind === 'nil' || assignable(right, left)) return left;
      return unknown;
    case 'in':
      return checkIn(left, right, 0);
  }
}
