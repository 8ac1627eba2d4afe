import { endOfString, unescapeJson } from './gjson-scan.ts';

/** The first component of a path that is looked up in an object. */
export interface KeyPart {
  name: string;
  wild: boolean;
  /** After a dot: looked up in what the name finds. */
  rest?: string;
  /** After a bar: looked up in the result. */
  pipe?: string;
}

export interface Query {
  all: boolean;
  path: string;
  operator: string;
  value: string;
}

/** The first component of a path that is looked up in an array. */
export interface ElementPart {
  name: string;
  /** Has a `#` somewhere, so it is no index. */
  hash: boolean;
  query?: Query;
  rest?: string;
  pipe?: string;
}

/** Whether what follows a dot works on the whole result, as if a bar stood there. */
function startsAnew(path: string, modifiers: ReadonlySet<string>): boolean {
  if (path[0] === '@') return modifiers.has(path.slice(1).split(/[.|:]/, 1)[0] ?? '');
  return path[0] === '[' || path[0] === '{';
}

type After = { rest?: string; pipe?: string };

function afterDot(path: string, modifiers: ReadonlySet<string>): After {
  return path !== '' && startsAnew(path, modifiers) ? { pipe: path } : { rest: path };
}

export function keyPart(path: string, modifiers: ReadonlySet<string>): KeyPart {
  let name = '';
  let wild = false;
  let escaped = false;
  for (let i = 0; i < path.length; i += 1) {
    const char = path[i] ?? '';
    if (char === '|') return { name, wild, pipe: path.slice(i + 1) };
    if (char === '.') return { name, wild, ...afterDot(path.slice(i + 1), modifiers) };
    if (char === '\\') {
      i += 1;
      name += path[i] ?? '';
      escaped = true;
      continue;
    }
    if (char === '*' || char === '?') wild = true;
    name += char;
  }
  return { name: escaped || wild ? name : path, wild };
}

export function elementPart(path: string, modifiers: ReadonlySet<string>): ElementPart {
  let hash = false;
  let query: Query | undefined;
  for (let i = 0; i < path.length; i += 1) {
    const char = path[i];
    const part = { name: path.slice(0, i), hash, ...(query === undefined ? {} : { query }) };
    if (char === '|') return { ...part, pipe: path.slice(i + 1) };
    if (char === '.') {
      const rest = path.slice(i + 1);
      return hash ? { ...part, rest } : { ...part, ...afterDot(rest, modifiers) };
    }
    if (char !== '#') continue;
    hash = true;
    if (i > 0 || (path[1] !== '(' && path[1] !== '[')) continue;
    const found = readQuery(path);
    // A query without an end asks for nothing, so anything will do.
    if (found === undefined) {
      query = { all: false, path: '', operator: '', value: '' };
      return { name: path, hash, query };
    }
    i = found.end - 1;
    query = { ...found.query, all: path[found.end] === '#' };
  }
  return { name: path, hash, ...(query === undefined ? {} : { query }) };
}

/** Reads `#(path operator value)` at the start of a path. */
function readQuery(path: string): { query: Omit<Query, 'all'>; end: number } | undefined {
  let depth = 1;
  let operatorAt = 0;
  let escapes = false;
  let i = 2;
  for (; i < path.length; i += 1) {
    const char = path[i] ?? '';
    if (depth === 1 && operatorAt === 0 && '!=<>%'.includes(char)) {
      operatorAt = i;
    } else if (char === '\\') {
      i += 1;
    } else if (char === '[' || char === '(') {
      depth += 1;
    } else if (char === ']' || char === ')') {
      depth -= 1;
      if (depth === 0) break;
    } else if (char === '"') {
      const end = closingQuote(path, i);
      escapes ||= path.slice(i, end).includes('\\');
      i = end;
    }
  }
  if (depth > 0) return undefined;
  const end = i + 1;
  if (operatorAt === 0) return { query: { path: trim(path.slice(2, i)), operator: '', value: '' }, end };
  const comparison = trim(path.slice(operatorAt, i));
  const written = /^(!=|!%|<=|>=|==|[=<>%]|!$)/.exec(comparison)?.[0] ?? '';
  const operator = written === '==' ? '=' : written;
  let value = trim(comparison.slice(written.length));
  if (/^".*"$/s.test(value) && value.length >= 2) {
    value = value.slice(1, -1);
    if (escapes) value = unescapeJson(value);
  }
  return { query: { path: trim(path.slice(2, operatorAt)), operator, value }, end };
}

function closingQuote(path: string, open: number): number {
  const end = endOfString(path, open);
  return end < 0 ? path.length : end - 1;
}

const trim = (text: string) => text.replace(/^[\u0000-\u0020]+|[\u0000-\u0020]+$/g, '');

/** Splits a path at its first bar outside of queries and escapes; undefined where there is none. */
export function splitAtBar(path: string): { left: string; right: string } | undefined {
  if (!path.includes('|')) return undefined;
  if (path.startsWith('{')) {
    const end = endOfGroup(path, 0, '{[(', '}])');
    return path[end] === '|' ? { left: path.slice(0, end), right: path.slice(end + 1) } : undefined;
  }
  for (let i = 0; i < path.length; i += 1) {
    const char = path[i];
    if (char === '\\') {
      i += 1;
    } else if (char === '|') {
      return { left: path.slice(0, i), right: path.slice(i + 1) };
    } else if (char === '.' && path[i + 1] === '#') {
      i += 2;
      const open = path[i] ?? '';
      if (open === '[') i = endOfGroup(path, i, '[', ']') - 1;
      if (open === '(') i = endOfGroup(path, i, '(', ')') - 1;
    }
  }
  return undefined;
}

/** The index after the bracket that closes the one at `start`, with strings and escapes jumped over. */
function endOfGroup(path: string, start: number, opening: string, closing: string): number {
  let depth = 0;
  for (let i = start; i < path.length; i += 1) {
    const char = path[i] ?? '';
    if (char === '\\') i += 1;
    else if (char === '"') i = closingQuote(path, i);
    else if (opening.includes(char)) depth += 1;
    else if (closing.includes(char)) {
      depth -= 1;
      if (depth === 0) return i + 1;
    }
  }
  return path.length;
}

export interface Selector {
  /** Given in front of a colon; may have quotes. */
  name: string | undefined;
  path: string;
}

/** Reads `[path,…]` or `{name:path,…}` at the start of a path; undefined where it does not end. */
export function readSelectors(path: string): { selectors: Selector[]; rest: string } | undefined {
  const selectors: Selector[] = [];
  let depth = 1;
  let start = 1;
  let colon = 0;
  // The colon of a modifier's argument names nothing.
  let modifier = false;
  const push = (end: number) => {
    const name = colon === 0 ? undefined : path.slice(start, colon);
    selectors.push({ name, path: path.slice(colon === 0 ? start : colon + 1, end) });
    colon = 0;
    modifier = false;
    start = end + 1;
  };
  for (let i = 1; i < path.length; i += 1) {
    const char = path[i] ?? '';
    if (char === '\\') i += 1;
    else if (char === '"') i = closingQuote(path, i);
    else if (char === '@') modifier ||= path[i - 1] === '.' || path[i - 1] === '|';
    else if (char === ':' && !modifier && colon === 0 && depth === 1) colon = i;
    else if (char === ',' && depth === 1) push(i);
    else if ('[({'.includes(char)) depth += 1;
    else if ('])}'.includes(char)) {
      depth -= 1;
      if (depth > 0) continue;
      push(i);
      return { selectors, rest: path.slice(i + 1) };
    }
  }
  return undefined;
}

/** The name a selector without one gets: its last component. */
export function lastName(path: string): string {
  for (let i = path.length - 1; i >= 0; i -= 1) {
    const char = path[i];
    if ((char === '|' || char === '.') && path[i - 1] !== '\\') return nameOrBlank(path.slice(i + 1));
  }
  return nameOrBlank(path);
}

function nameOrBlank(name: string): string {
  return /[[\]{}()#|!\u0000-\u001f]/.test(name) ? '_' : name;
}
