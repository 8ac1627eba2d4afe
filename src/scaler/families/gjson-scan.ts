/** A value found in a JSON text, with the text it has there. */
export interface JsonValue {
  kind: 'null' | 'false' | 'true' | 'number' | 'string' | 'json';
  raw: string;
}

/** A key (with its quotes; empty in an array) and where its value begins. */
export interface Member {
  key: string;
  value: JsonValue;
}

const code = (char: string) => char.charCodeAt(0);
const quote = code('"');
const backslash = code('\\');
const comma = code(',');
const openBrace = code('{');
const closeBrace = code('}');
const openBracket = code('[');
const closeBracket = code(']');
const openParen = code('(');
const closeParen = code(')');
const space = code(' ');

/** The index after the string that opens at `start`, or -1 where it does not end. */
export function endOfString(text: string, start: number): number {
  let close = text.indexOf('"', start + 1);
  while (close >= 0) {
    let slashes = 0;
    while (text.charCodeAt(close - 1 - slashes) === backslash && close - 1 - slashes > start) slashes += 1;
    if (slashes % 2 === 0) return close + 1;
    close = text.indexOf('"', close + 1);
  }
  return -1;
}

/** The index after the bracket that closes the one at `start`, strings jumped over; the end where none does. */
export function endOfNested(text: string, start: number): number {
  let depth = 1;
  for (let i = start + 1; i < text.length; i += 1) {
    switch (text.charCodeAt(i)) {
      case quote: {
        const end = endOfString(text, i);
        if (end < 0) return text.length;
        i = end - 1;
        break;
      }
      case openBrace:
      case openBracket:
      case openParen:
        depth += 1;
        break;
      case closeBrace:
      case closeBracket:
      case closeParen:
        depth -= 1;
        if (depth === 0) return i + 1;
        break;
    }
  }
  return text.length;
}

function endOfNumber(text: string, start: number): number {
  let i = start + 1;
  for (; i < text.length; i += 1) {
    const char = text.charCodeAt(i);
    if (char <= space || char === comma || char === closeBracket || char === closeBrace) break;
  }
  return i;
}

function endOfLiteral(text: string, start: number): number {
  let i = start + 1;
  while (i < text.length && text.charCodeAt(i) >= 97 && text.charCodeAt(i) <= 122) i += 1;
  return i;
}

/** What begins at an index, without looking further than its first characters; undefined where no value does. */
export function kindAt(text: string, i: number): JsonValue['kind'] | undefined {
  switch (text[i]) {
    case '{':
    case '[':
      return 'json';
    case '"':
      return 'string';
    case 't':
      return 'true';
    case 'f':
      return 'false';
    case 'n':
      // Written by some for "not a number".
      return i + 1 < text.length && text[i + 1] !== 'u' ? 'number' : 'null';
    default:
      return /^[-+0-9iIN]$/.test(text[i] ?? '') ? 'number' : undefined;
  }
}

/** The index after the value of that kind that begins at `start`, or -1 where it is a string without an end. */
export function endOf(kind: JsonValue['kind'], text: string, start: number): number {
  switch (kind) {
    case 'json':
      return endOfNested(text, start);
    case 'string':
      return endOfString(text, start);
    case 'number':
      return endOfNumber(text, start);
    default:
      return endOfLiteral(text, start);
  }
}

/** The first value of a text and, for an object or array, all that comes after it too. */
export function parseFirst(text: string): JsonValue | undefined {
  let i = 0;
  while (i < text.length && text.charCodeAt(i) <= space) i += 1;
  const kind = kindAt(text, i);
  if (kind === undefined) return undefined;
  if (kind === 'json') return { kind, raw: text.slice(i) };
  const end = endOf(kind, text, i);
  return { kind, raw: end < 0 ? text.slice(i) : text.slice(i, end) };
}

/** Visits an object's members or an array's elements in order until `visit` returns true. A scalar is its own one. */
export function forEachMember(
  { kind, raw }: JsonValue,
  visit: (member: Member) => boolean | undefined,
): void {
  if (kind !== 'json') {
    visit({ key: '', value: { kind, raw } });
    return;
  }
  const object = raw.startsWith('{');
  let i = 1;
  while (i < raw.length) {
    let key = '';
    if (object) {
      while (i < raw.length && raw.charCodeAt(i) !== quote && raw.charCodeAt(i) !== closeBrace) i += 1;
      if (raw.charCodeAt(i) !== quote) return;
      const end = endOfString(raw, i);
      if (end < 0) return;
      key = raw.slice(i, end);
      i = end;
    }
    while (kindAt(raw, i) === undefined) {
      const char = raw.charCodeAt(i);
      if (i >= raw.length || char === closeBracket || char === closeBrace) return;
      i += 1;
    }
    const valueKind = kindAt(raw, i) ?? 'null';
    const end = endOf(valueKind, raw, i);
    if (end < 0) return;
    if (visit({ key, value: { kind: valueKind, raw: raw.slice(i, end) } })) return;
    i = end;
  }
}

const escapes: Record<string, string> = {
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  '"': '"',
};

/** The text that a string without its quotes stands for; it ends where an escape or a character is wrong. */
export function unescapeJson(text: string): string {
  if (!/[\\\u0000-\u001f]/.test(text)) return text;
  let out = '';
  for (let i = 0; i < text.length; i += 1) {
    const char = text[i] ?? '';
    if (char < ' ') return out;
    if (char !== '\\') {
      out += char;
      continue;
    }
    i += 1;
    const sign = text[i] ?? '';
    if (sign !== 'u') {
      const stands = escapes[sign];
      if (stands === undefined) return out;
      out += stands;
      continue;
    }
    if (i + 5 > text.length) return out;
    let unit = hex(text, i + 1);
    i += 4;
    if (unit >= 0xd800 && unit < 0xe000) {
      const low = text[i + 1] === '\\' && text[i + 2] === 'u' ? hex(text, i + 3) : undefined;
      const pair = unit < 0xdc00 && low !== undefined && low >= 0xdc00 && low < 0xe000;
      unit = pair ? 0x10000 + (unit - 0xd800) * 0x400 + (low - 0xdc00) : 0xfffd;
      if (low !== undefined) i += 6;
    }
    out += String.fromCodePoint(unit);
  }
  return out;
}

function hex(text: string, start: number): number {
  const digits = text.slice(start, start + 4);
  return /^[0-9a-fA-F]{4}$/.test(digits) ? Number.parseInt(digits, 16) : 0;
}

/** A text as a JSON string. */
export function quoteJson(text: string): string {
  return JSON.stringify(text).replace(
    /[<>&\u2028\u2029]/g,
    char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** The text of a value: a string without its quotes, anything else as it is written. */
export function textOf({ kind, raw }: JsonValue): string {
  if (kind === 'null') return '';
  return kind === 'string' ? unescapeJson(raw.slice(1, raw.endsWith('"') ? -1 : undefined)) : raw;
}

/** A number as Go's ParseFloat reads it; 0 for what is none. */
export function goFloat(text: string): number {
  if (/^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$/.test(text)) return Number(text);
  const special = /^([-+]?)(inf|infinity|nan)$/i.exec(text);
  if (special === null) return 0;
  if (special[2]?.toLowerCase() === 'nan') return Number.NaN;
  return special[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
}
