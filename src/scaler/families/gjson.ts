import { Fault } from '../../base/errors.ts';
import { isValid, modifierNames, runLiteral, runModifier } from './gjson-modifiers.ts';
import { elementPart, keyPart, lastName, type Query, readSelectors, splitAtBar } from './gjson-path.ts';
import { matchesGlob, matchesQuery, mostWork, spend, type Work } from './gjson-query.ts';
import {
  endOf,
  endOfString,
  type JsonValue,
  kindAt,
  parseFirst,
  quoteJson,
  unescapeJson,
} from './gjson-scan.ts';

export type { JsonValue } from './gjson-scan.ts';

/** One search: the text, what was found so far, and what is to be looked up in the result. */
interface Search {
  text: string;
  found: JsonValue | undefined;
  pipe: string | undefined;
  work: Work;
}

/**
 * Looks up a GJSON path (github.com/tidwall/gjson 1.19, its whole syntax) in a JSON text, as KEDA does for
 * `valueLocation`. Like GJSON it reads the text only as far as needed and does not check the rest of it.
 *
 * @returns undefined where the path leads nowhere
 * @throws Fault SOURCE_ANSWER_INVALID where the path asks for an absurd amount of work on this text
 */
export function gjsonGet(text: string, path: string): JsonValue | undefined {
  try {
    return get(text, path, { left: mostWork });
  } catch (thrown) {
    if (!(thrown instanceof RangeError)) throw thrown;
    const sentence = 'the answer is nested too deeply for the path';
    throw new Fault('SOURCE_ANSWER_INVALID', sentence, { cause: thrown });
  }
}

function get(text: string, path: string, work: Work): JsonValue | undefined {
  spend(work, text.length + path.length);
  if (path.length > 1) {
    const made = construct(text, path, work);
    if (made !== undefined) return made.value;
  }
  const search: Search = { text, found: undefined, pipe: undefined, work };
  if (path.startsWith('..')) {
    searchArray(search, 0, path.slice(2));
  } else {
    const start = text.search(/[{[]/);
    if (start >= 0) searchNested(search, start, path);
  }
  if (search.pipe === undefined) return search.found;
  return get(search.found?.raw ?? '', search.pipe, work);
}

/** What a modifier, a literal or a multipath makes; undefined where the path starts with none of them. */
function construct(text: string, path: string, work: Work): { value: JsonValue | undefined } | undefined {
  const first = path[0];
  if (first === '@' || first === '!') {
    const around = {
      lookUp: (inner: string, at: string) => get(inner, at, work),
      spend: (amount: number) => spend(work, amount),
    };
    const ran = first === '@' ? runModifier(text, path, around) : runLiteral(path);
    if (ran !== undefined) {
      spend(work, ran.text.length);
      const more = ran.rest.startsWith('|') || ran.rest.startsWith('.');
      return { value: more ? get(ran.text, ran.rest.slice(1), work) : parseFirst(ran.text) };
    }
  }
  if (first !== '[' && first !== '{') return undefined;
  const read = readSelectors(path);
  if (read === undefined || !/^$|^[|.]/.test(read.rest)) return undefined;
  const parts: string[] = [];
  for (const { name, path: inner } of read.selectors) {
    const value = get(text, inner, work);
    if (value === undefined) continue;
    const key = name?.startsWith('"') && isValid(name) ? name : quoteJson(name || lastName(inner));
    parts.push(first === '{' ? `${key}:${value.raw}` : value.raw);
  }
  const raw = first === '{' ? `{${parts.join(',')}}` : `[${parts.join(',')}]`;
  spend(work, raw.length);
  return { value: read.rest === '' ? { kind: 'json', raw } : get(raw, read.rest.slice(1), work) };
}

/** Whether the search is over; `start` is where the object or array opens. */
function searchNested(search: Search, start: number, path: string): boolean {
  return search.text[start] === '{'
    ? searchObject(search, start + 1, path)
    : searchArray(search, start + 1, path);
}

function searchObject(search: Search, from: number, path: string): boolean {
  const { text, work } = search;
  const part = keyPart(path, modifierNames);
  if (part.pipe !== undefined) search.pipe = part.pipe;
  let i = from;
  for (;;) {
    while (i < text.length && text[i] !== '"' && text[i] !== '}') i += 1;
    if (text[i] !== '"') return false;
    const keyEnd = endOfString(text, i);
    if (keyEnd < 0) return false;
    const matches = part.wild
      ? matchesGlob(unescapeJson(text.slice(i + 1, keyEnd - 1)), part.name, work)
      : isKey(text, i, keyEnd, part.name);
    i = keyEnd;
    let kind = kindAt(text, i);
    while (kind === undefined && i < text.length) {
      i += 1;
      kind = kindAt(text, i);
    }
    if (kind === undefined) return false;
    if (matches && part.rest !== undefined && kind === 'json' && searchNested(search, i, part.rest))
      return true;
    const end = endOf(kind, text, i);
    if (end < 0) return false;
    // What was searched in vain is passed over again.
    if (matches) spend(work, end - i);
    if (matches && part.rest === undefined) {
      search.found = { kind, raw: text.slice(i, end) };
      return true;
    }
    i = end;
  }
}

/** Whether the key with its quotes at start…end is that name. */
function isKey(text: string, start: number, end: number, name: string): boolean {
  if (end - start - 2 === name.length && text.startsWith(name, start + 1)) return !name.includes('\\');
  const written = text.slice(start + 1, end - 1);
  return written.includes('\\') && unescapeJson(written) === name;
}

function searchArray(search: Search, from: number, path: string): boolean {
  const { text } = search;
  const part = elementPart(path, modifierNames);
  if (part.pipe !== undefined) search.pipe = part.pipe;
  const each = part.name === '#' && part.rest !== undefined ? collector(search, part.rest) : undefined;
  const query = part.query === undefined ? undefined : querier(search, part.query, part.rest);
  const wanted = !part.hash && /^\d+$/.test(part.name) ? Number(part.name) : -1;
  let count = 0;
  for (let i = from; ; ) {
    let kind = kindAt(text, i);
    while (kind === undefined && i < text.length && text[i] !== ']') {
      i += 1;
      kind = kindAt(text, i);
    }
    if (kind === undefined) break;
    const wantedHere = count === wanted;
    if (wantedHere && part.rest !== undefined && kind === 'json' && searchNested(search, i, part.rest))
      return true;
    const end = endOf(kind, text, i);
    if (end < 0) return false;
    const value = (): JsonValue => ({ kind, raw: text.slice(i, end) });
    if (wantedHere && part.rest === undefined) {
      search.found = value();
      return true;
    }
    each?.add(value());
    if (query?.add(value())) return true;
    count += 1;
    i = end;
  }
  if (each !== undefined) {
    search.found = each.all();
    return true;
  }
  if (part.name === '#') {
    search.found = { kind: 'number', raw: String(count) };
    return true;
  }
  // All matches of a query are a result, but the search goes on: another key may match a wildcard.
  if (query !== undefined) search.found ??= query.all();
  return false;
}

/** `#.path`: what the path finds in each element. */
function collector(search: Search, rest: string) {
  const raws: string[] = [];
  const split = splitAtBar(rest);
  if (split !== undefined) search.pipe = split.right;
  const path = split?.left ?? rest;
  return {
    add(element: JsonValue): void {
      const found = get(element.raw, path, search.work);
      if (found !== undefined) raws.push(found.raw);
    },
    all(): JsonValue {
      return { kind: 'json', raw: `[${raws.join(',')}]` };
    },
  };
}

/** `#(query)` and `#(query)#`. */
function querier(search: Search, query: Query, rest: string | undefined) {
  const { work } = search;
  const raws: string[] = [];
  let path = rest;
  return {
    /** Whether the search is over. */
    add(element: JsonValue): boolean {
      let subject: JsonValue | undefined = element;
      if (element.kind === 'json') subject = get(element.raw, query.path, work);
      else if (query.path !== '') return false;
      if (!matchesQuery(query, subject, work)) return false;
      const split = path === undefined ? undefined : splitAtBar(path);
      if (split !== undefined) {
        path = split.left;
        search.pipe = split.right;
      }
      const found = path === undefined ? element : get(element.raw, path, work);
      if (query.all) {
        if (found !== undefined) raws.push(found.raw);
        return false;
      }
      search.found = found;
      return true;
    },
    all(): JsonValue | undefined {
      return query.all ? { kind: 'json', raw: `[${raws.join(',')}]` } : undefined;
    },
  };
}
