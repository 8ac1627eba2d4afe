import { dateFunctions, functionNames } from './signatures.ts';
import type { BinaryOperator } from './syntax.ts';

/** The tables of the language: what binds how tightly, and which built-ins take a predicate. */

export const prefixes: Record<string, { op: '-' | '+' | 'not'; binds: number }> = {
  not: { op: 'not', binds: 50 },
  '!': { op: 'not', binds: 50 },
  '-': { op: '-', binds: 90 },
  '+': { op: '+', binds: 90 },
};

export const infixes: Record<string, { op: BinaryOperator | '|'; binds: number; right?: true }> = {
  '|': { op: '|', binds: 0 },
  or: { op: '||', binds: 10 },
  '||': { op: '||', binds: 10 },
  and: { op: '&&', binds: 15 },
  '&&': { op: '&&', binds: 15 },
  '==': { op: '==', binds: 20 },
  '!=': { op: '!=', binds: 20 },
  '<': { op: '<', binds: 20 },
  '>': { op: '>', binds: 20 },
  '>=': { op: '>=', binds: 20 },
  '<=': { op: '<=', binds: 20 },
  in: { op: 'in', binds: 20 },
  matches: { op: 'matches', binds: 20 },
  contains: { op: 'contains', binds: 20 },
  startsWith: { op: 'startsWith', binds: 20 },
  endsWith: { op: 'endsWith', binds: 20 },
  '..': { op: '..', binds: 25 },
  '+': { op: '+', binds: 30 },
  '-': { op: '-', binds: 30 },
  '*': { op: '*', binds: 60 },
  '/': { op: '/', binds: 60 },
  '%': { op: '%', binds: 60 },
  '**': { op: '**', binds: 100, right: true },
  '^': { op: '**', binds: 100, right: true },
  '??': { op: '??', binds: 500 },
};

export const negatable = new Set(['contains', 'matches', 'startsWith', 'endsWith', 'in']);
export const comparisons = new Set(['<', '>', '>=', '<=']);

/** Which built-ins take a predicate, whether it may be left out, and whether a third argument may follow. */
export const loops: Record<string, { predicate: 'required' | 'optional'; extra?: true }> = {
  all: { predicate: 'required' },
  none: { predicate: 'required' },
  any: { predicate: 'required' },
  one: { predicate: 'required' },
  filter: { predicate: 'required' },
  map: { predicate: 'required' },
  count: { predicate: 'optional' },
  sum: { predicate: 'optional' },
  find: { predicate: 'required' },
  findIndex: { predicate: 'required' },
  findLast: { predicate: 'required' },
  findLastIndex: { predicate: 'required' },
  groupBy: { predicate: 'required' },
  sortBy: { predicate: 'required', extra: true },
  reduce: { predicate: 'required', extra: true },
};

/** Whether a name is that of a built-in, and may therefore not name a variable. */
export function isBuiltin(name: string): boolean {
  return Object.hasOwn(loops, name) || functionNames.includes(name) || dateFunctions.includes(name);
}
