import { Buffer } from 'node:buffer';
import { toInt } from './arithmetic.ts';
import { type Frame, longestText } from './frame.ts';
import { failed, kindOf, Pairs, type Value } from './values.ts';

type TextFunction = (frame: Frame, args: readonly Value[]) => Value;

/** Gives a function its arguments as texts, and counts the work of going through them. */
function texts(name: string, work: (texts: string[], frame: Frame) => Value): TextFunction {
  return (frame, args) =>
    work(
      args.map(arg => text(frame, arg, name)),
      frame,
    );
}

function text(frame: Frame, value: Value | undefined, name: string): string {
  if (typeof value !== 'string') throw failed(`${name} takes a string, not ${kindOf(value ?? null)}`);
  frame.read(value.length);
  return value;
}

/** Go counts places in a string in bytes of UTF-8. */
function bytePlace(within: string, index: number): bigint {
  return BigInt(index < 0 ? -1 : Buffer.byteLength(within.slice(0, index)));
}

function trim(value: string, cutset: string | undefined): string {
  if (cutset === undefined) return value.replace(/^[\s\x85]+/, '').replace(/[\s\x85]+$/, '');
  const cut = new Set(cutset);
  const chars = [...value];
  let from = 0;
  let to = chars.length;
  while (from < to && cut.has(chars[from] ?? '')) from += 1;
  while (to > from && cut.has(chars[to - 1] ?? '')) to -= 1;
  return chars.slice(from, to).join('');
}

/** Go's SplitN: at most `most` pieces, the last one whole; below zero all, none for zero. */
function split(name: string, keepSeparator: boolean): TextFunction {
  return (frame, args) => {
    const whole = text(frame, args[0], name);
    const separator = text(frame, args[1], name);
    const limit = args[2] === undefined ? -1 : Number(toInt(args[2]));
    if (limit === 0) return [];
    const pieces = separator === '' ? [...whole] : whole.split(separator);
    frame.grow(pieces.length);
    const most = limit < 0 ? pieces.length : Math.min(limit, pieces.length);
    if (most === 0) return [];
    const head = pieces.slice(0, most - 1).map(piece => (keepSeparator ? piece + separator : piece));
    const rest = pieces.slice(most - 1);
    return [...head, rest.join(separator)];
  };
}

function replace(frame: Frame, args: readonly Value[]): Value {
  const whole = text(frame, args[0], 'replace');
  const old = text(frame, args[1], 'replace');
  const next = text(frame, args[2], 'replace');
  const limit = args[3] === undefined ? -1 : Number(toInt(args[3]));
  // An empty text is found before each character and at the end.
  const pieces = old === '' ? ['', ...whole] : whole.split(old);
  const places = old === '' ? pieces.length : pieces.length - 1;
  const times = limit < 0 ? places : Math.min(limit, places);
  frame.grow(pieces.length);
  frame.read(whole.length + times * next.length);
  let made = '';
  for (const [index, piece] of pieces.entries()) {
    made += piece;
    if (index < times) made += next;
    else if (index < pieces.length - 1) made += old;
  }
  return made;
}

function join(frame: Frame, args: readonly Value[]): Value {
  const values = args[0] ?? null;
  if (!Array.isArray(values)) throw failed(`join takes an array, not ${kindOf(values)}`);
  const glue = args[1] === undefined ? '' : text(frame, args[1], 'join');
  let length = 0;
  for (const value of values) {
    if (typeof value !== 'string') throw failed(`join takes an array of strings, not of ${kindOf(value)}`);
    length += value.length + glue.length;
    if (length > longestText) frame.read(length);
  }
  frame.spend(values.length);
  frame.read(length);
  return values.join(glue);
}

function repeat(frame: Frame, args: readonly Value[]): Value {
  const piece = text(frame, args[0], 'repeat');
  const times = Number(toInt(args[1] ?? null));
  if (times < 0) throw failed(`repeat cannot repeat ${times} times`);
  if (times > longestText) throw failed(`repeat cannot repeat more than ${longestText} times`);
  frame.read(piece.length * times);
  frame.grow(piece.length * times);
  return piece.repeat(times);
}

/** A value as JSON that `JSON.stringify` understands, keys sorted as Go sorts them. */
function plain(frame: Frame, value: Value): unknown {
  frame.grow(1);
  if (typeof value === 'string') frame.spend(value.length);
  if (typeof value === 'bigint') {
    const raw = Number(value);
    if (BigInt(raw) === value) return raw;
    throw failed(`toJSON cannot write the int ${value} exactly`);
  }
  if (typeof value === 'number' && !Number.isFinite(value)) throw failed(`JSON has no ${value}`);
  if (Array.isArray(value)) return value.map(each => plain(frame, each));
  if (!(value instanceof Pairs)) return value;
  if (!value.textKeys) throw failed('toJSON takes only maps that have strings as keys');
  const keys = [...value.entries.keys()].map(String).sort();
  return Object.fromEntries(keys.map(key => [key, plain(frame, value.get(key))]));
}

function fromPlain(frame: Frame, value: unknown): Value {
  frame.grow(1);
  if (Array.isArray(value)) return value.map(each => fromPlain(frame, each));
  if (typeof value === 'object' && value !== null) {
    const entries = new Map<Value, Value>();
    for (const [key, each] of Object.entries(value)) entries.set(key, fromPlain(frame, each));
    return new Pairs(entries, true);
  }
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : null;
}

function fromJson(frame: Frame, args: readonly Value[]): Value {
  const json = text(frame, args[0], 'fromJSON');
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw failed('fromJSON was given text that is not JSON');
  }
  return fromPlain(frame, value);
}

/** The built-ins that work on strings. */
export const textFunctions: Readonly<Record<string, TextFunction>> = {
  trim: texts('trim', ([value = '', cutset]) => trim(value, cutset)),
  trimPrefix: texts('trimPrefix', ([value = '', prefix = ' ']) =>
    value.startsWith(prefix) ? value.slice(prefix.length) : value,
  ),
  trimSuffix: texts('trimSuffix', ([value = '', suffix = ' ']) =>
    value.endsWith(suffix) ? value.slice(0, value.length - suffix.length) : value,
  ),
  upper: texts('upper', ([value = '']) => value.toUpperCase()),
  lower: texts('lower', ([value = '']) => value.toLowerCase()),
  split: split('split', false),
  splitAfter: split('splitAfter', true),
  replace,
  repeat,
  join,
  indexOf: texts('indexOf', ([value = '', part = '']) => bytePlace(value, value.indexOf(part))),
  lastIndexOf: texts('lastIndexOf', ([value = '', part = '']) => bytePlace(value, value.lastIndexOf(part))),
  hasPrefix: texts('hasPrefix', ([value = '', prefix = '']) => value.startsWith(prefix)),
  hasSuffix: texts('hasSuffix', ([value = '', suffix = '']) => value.endsWith(suffix)),
  toJSON: (frame, [value = null]) => {
    const json = JSON.stringify(plain(frame, value), undefined, 2).replace(
      /[<>&\u2028\u2029]/g,
      char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
    frame.read(json.length);
    return json;
  },
  fromJSON: fromJson,
  toBase64: texts('toBase64', ([value = '']) => Buffer.from(value).toString('base64')),
  fromBase64: texts('fromBase64', ([value = '']) => {
    const packed = value.replace(/[\r\n]/g, '');
    if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(packed)) {
      throw failed('fromBase64 was given text that is not base64');
    }
    return Buffer.from(packed, 'base64').toString();
  }),
};
