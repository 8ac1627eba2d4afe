import { parseDuration } from '../base/duration.ts';
import { Secret } from '../base/secret.ts';
import type { Problem } from '../spec/problem.ts';
import { didYouMean } from '../spec/suggest.ts';

/**
 * Where a parameter may come from: the trigger's metadata, the TriggerAuthentication, or an environment
 * variable of the target that the metadata key `<name>FromEnv` names.
 */
export type ParamSource = 'metadata' | 'auth' | 'env';

interface ParamOptions {
  /** What it means, for the generated docs: one sentence. */
  doc: string;
  /** Such as `messages`, `seconds`, `bytes`. */
  unit?: string;
  /** Looked up in this order; metadata alone unless told. */
  from?: readonly ParamSource[];
  /** Other names for the same parameter, tried after its own. */
  also?: readonly string[];
  /** Given in the manifest's spelling; read as if it had been written there. */
  default?: string;
  /** May be left out; its value is then undefined. */
  optional?: boolean;
  /** Allowed values; for a list, of each item. */
  choices?: readonly string[];
  /** At most one of these may be in a list. */
  exclusive?: readonly string[];
  separator?: string;
  /** For lists of integers: `1-5` stands for 1,2,3,4,5 with this sign. */
  range?: string;
  /** Refused with this sentence where a manifest still gives it. */
  removed?: string;
  /** Accepted, with this sentence as a notice. */
  deprecated?: string;
  secret?: boolean;
}

/** One declared parameter. `parse` reads a trimmed text that is not blank; it throws a sentence. */
export interface Param<T> extends ParamOptions {
  kind: string;
  parse(text: string): T;
}

/** All parameters of a scaler by name. Data: docs, schema and completion are made from it. */
export type Shape = Readonly<Record<string, Param<unknown>>>;

/** The values a shape yields: optional parameters without a default may be undefined. */
export type ValuesOf<S extends Shape> = { [K in keyof S]: S[K] extends Param<infer T> ? T : never };

type Optional<O extends ParamOptions, T> = O extends { optional: true } | { removed: string }
  ? T | undefined
  : T;

function param<T, const O extends ParamOptions>(
  kind: string,
  options: O,
  parse: (text: string) => T,
): Param<Optional<O, T>> {
  return { ...options, kind, parse } as Param<Optional<O, T>>;
}

/** The kinds of parameters, reading texts as KEDA's Go code does. */
export const p = {
  text: <const O extends ParamOptions>(options: O) => param('text', options, text => text),
  secret: <const O extends ParamOptions>(options: O) =>
    param('secret', { ...options, secret: true }, text => new Secret(text)),
  choice: <const C extends readonly string[], const O extends ParamOptions>(choices: C, options: O) =>
    param('choice', { ...options, choices } as O & { choices: C }, text => text as C[number]),
  integer: <const O extends ParamOptions>(options: O) => param('integer', options, parseInteger),
  number: <const O extends ParamOptions>(options: O) => param('number', options, parseNumber),
  flag: <const O extends ParamOptions>(options: O) => param('flag', options, parseFlag),
  /** A Go duration or whole milliseconds, never negative; the value is in milliseconds. */
  duration: <const O extends ParamOptions>(options: O) => param('duration', options, parseWait),
  list: <const O extends ParamOptions>(options: O) =>
    param('list', options, text => split(text, options.separator)),
  integers: <const O extends ParamOptions>(options: O) =>
    param('integers', options, text =>
      split(text, options.separator).flatMap(item => parseRange(item, options.range)),
    ),
  /** `key=value` pairs. */
  map: <const O extends ParamOptions>(options: O) =>
    param('map', options, text => Object.fromEntries(split(text, options.separator).map(parsePair))),
  /** A URL query string. */
  query: <const O extends ParamOptions>(options: O) => param('query', options, parseQuery),
};

const split = (text: string, separator = ',') => text.split(separator).map(item => item.trim());

function parseInteger(text: string): number {
  if (!/^-?(0|[1-9]\d*)$/.test(text)) throw new Error('is not a whole number');
  const value = BigInt(text);
  if (BigInt.asIntN(64, value) !== value) throw new Error('is too large a number');
  return Number(value);
}

function parseNumber(text: string): number {
  if (!/^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(text)) throw new Error('is not a number');
  const value = Number(text);
  if (!Number.isFinite(value)) throw new Error('is too large a number');
  return value;
}

function parseFlag(text: string): boolean {
  if (/^(1|t|T|TRUE|true|True)$/.test(text)) return true;
  if (/^(0|f|F|FALSE|false|False)$/.test(text)) return false;
  throw new Error('is neither true nor false');
}

function parseWait(text: string): number {
  const ms = parseDuration(text) ?? (/^[-+]?\d+$/.test(text) ? Number(text) : undefined);
  if (ms === undefined) throw new Error('is neither a duration such as 30s nor whole milliseconds');
  if (ms < 0) throw new Error('must not be negative');
  return ms;
}

function parseRange(item: string, sign: string | undefined): number[] {
  if (sign === undefined || !item.includes(sign)) return [parseInteger(item)];
  const ends = item.split(sign);
  const [start, end] = ends.map(each => parseInteger(each.trim()));
  if (ends.length !== 2 || start === undefined || end === undefined)
    throw new Error(`needs the form start${sign}end`);
  if (end - start > 100_000) throw new Error('spans more than 100,000 numbers');
  return Array.from({ length: Math.max(0, end - start + 1) }, (_, offset) => start + offset);
}

function parsePair(item: string): [string, string] {
  const [key, value, ...more] = item.split('=');
  if (key === undefined || value === undefined || more.length > 0)
    throw new Error('needs key=value in each of its parts');
  return [key.trim(), value.trim()];
}

function parseQuery(text: string): Record<string, string[]> {
  if (/;|%(?![0-9a-fA-F]{2})/.test(text)) throw new Error('is not a URL query');
  const values = new Map<string, string[]>();
  for (const [key, value] of new URLSearchParams(text)) values.set(key, [...(values.get(key) ?? []), value]);
  return Object.fromEntries(values);
}

/** What parameters are looked up in. */
export interface ParamInput {
  metadata: Readonly<Record<string, string>>;
  /** From the TriggerAuthentication. */
  auth: Readonly<Record<string, Secret>>;
  /** The environment of the target's container. */
  env: Readonly<Record<string, string>>;
  /** Given inline as a reference to a Secret's key; comes before everything else. */
  inline?: Readonly<Record<string, Secret>>;
}

export interface ReadParams<S extends Shape> {
  /** Complete only where there is no problem. */
  values: ValuesOf<S>;
  problems: Problem[];
  notices: Problem[];
}

/**
 * Reads all parameters of a shape and complains once about everything. The lookup is KEDA's: names in order
 * within each source in order, values trimmed, blank counts as missing.
 *
 * @param mayLack parameters that may be left out here although the shape requires them
 * @param anyNames names that the shape does not have are nothing to notice
 */
export function readParams<S extends Shape>(
  shape: S,
  input: ParamInput,
  { mayLack = [], anyNames = false }: { mayLack?: readonly string[]; anyNames?: boolean } = {},
): ReadParams<S> {
  const values: Record<string, unknown> = {};
  const problems: Problem[] = [];
  const notices: Problem[] = [];
  for (const [name, declared] of Object.entries(shape)) {
    const { text: found, from } = lookUp(name, declared, input);
    if (found !== undefined && declared.removed !== undefined) {
      problems.push({ problem: `"${name}" was removed`, mending: declared.removed, place: fieldOf(name) });
      continue;
    }
    if (found !== undefined && declared.deprecated !== undefined) {
      notices.push({
        problem: `"${name}" is deprecated`,
        mending: declared.deprecated,
        place: fieldOf(name),
      });
    }
    const text =
      found ?? (declared.default === undefined || declared.default === '' ? undefined : declared.default);
    if (text === undefined) {
      values[name] = undefined;
      const required = !declared.optional && declared.removed === undefined && declared.default === undefined;
      if (required && !mayLack.includes(name)) problems.push(missing(name, declared, input));
      continue;
    }
    try {
      checkChoices(text, declared);
      values[name] = declared.parse(text);
    } catch (thrown) {
      // What does not stand in the manifest itself may come from a Secret.
      const open = !declared.secret && (from === undefined || from === 'metadata');
      const shown = open ? `"${text}"` : 'the value';
      const sentence = thrown instanceof Error ? thrown.message : String(thrown);
      problems.push({ problem: `${shown} ${sentence}`, place: fieldOf(name) });
    }
  }
  if (!anyNames) notices.push(...unknownNames(shape, input.metadata));
  return { values: values as ValuesOf<S>, problems, notices };
}

const fieldOf = (name: string) => ({ field: `metadata.${name}` });

function lookUp(
  name: string,
  declared: Param<unknown>,
  input: ParamInput,
): { text?: string; from?: ParamSource | 'inline' } {
  const names = [name, ...(declared.also ?? [])];
  const inline = names.map(each => input.inline?.[each]).find(secret => secret !== undefined);
  if (inline !== undefined) {
    const text = notBlank(inline.reveal());
    return text === undefined ? {} : { text, from: 'inline' };
  }
  for (const source of declared.from ?? ['metadata']) {
    for (const each of names) {
      const text = notBlank(textFrom(source, each, input));
      if (text !== undefined) return { text, from: source };
    }
  }
  return {};
}

function textFrom(source: ParamSource, name: string, input: ParamInput): string | undefined {
  if (source === 'metadata') return input.metadata[name];
  if (source === 'auth') return input.auth[name]?.reveal();
  const variable = input.metadata[`${name}FromEnv`];
  return variable === undefined ? undefined : input.env[variable];
}

function notBlank(text: string | undefined): string | undefined {
  const trimmed = text?.trim();
  return trimmed === '' ? undefined : trimmed;
}

function missing(name: string, declared: Param<unknown>, input: ParamInput): Problem {
  const sources = declared.from ?? ['metadata'];
  const variable = sources.includes('env') ? input.metadata[`${name}FromEnv`] : undefined;
  const looked = sources.map(source => (source === 'env' ? `env (${name}FromEnv)` : source)).join(', ');
  const mending =
    variable === undefined
      ? `looked in ${looked}`
      : `${name}FromEnv names "${variable}", which the target's container does not set`;
  return { problem: `"${name}" is missing`, mending, place: fieldOf(name) };
}

function checkChoices(text: string, { choices, exclusive, separator }: Param<unknown>): void {
  if (choices === undefined && exclusive === undefined) return;
  const items = split(text, separator);
  const strange = items.find(item => choices?.includes(item) === false);
  if (choices !== undefined && strange !== undefined) {
    throw new Error(`must be one of ${choices.join(', ')}${didYouMean(strange, choices)}`);
  }
  const together = items.filter(item => exclusive?.includes(item));
  if (together.length > 1) throw new Error(`may have only one of ${(exclusive ?? []).join(', ')}`);
}

function unknownNames(shape: Shape, metadata: Readonly<Record<string, string>>): Problem[] {
  const known = Object.entries(shape).flatMap(([name, { also = [], from = [] }]) => {
    const names = [name, ...also];
    return from.includes('env') ? [...names, ...names.map(each => `${each}FromEnv`)] : names;
  });
  return Object.keys(metadata)
    .filter(name => !known.includes(name))
    .map(name => ({
      problem: `"${name}" is not a parameter of this trigger type and is ignored${didYouMean(name, known)}`,
      place: fieldOf(name),
    }));
}
