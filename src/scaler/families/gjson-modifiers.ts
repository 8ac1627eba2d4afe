import {
  endOfNested,
  endOfString,
  forEachMember,
  type JsonValue,
  parseFirst,
  quoteJson,
  textOf,
} from './gjson-scan.ts';

/** What modifiers get of the search they are part of. */
export interface Search {
  lookUp(text: string, path: string): JsonValue | undefined;
  /** Accounts for characters that are gone through again. */
  spend(amount: number): void;
}

type Modifier = (text: string, argument: string, search: Search) => string;

const modifiers = new Map<string, Modifier>([
  ['this', text => text],
  // Only its whitespace differs, which no number can show.
  ['pretty', text => text],
  ['ugly', ugly],
  ['reverse', reverse],
  ['flatten', flatten],
  ['join', join],
  ['valid', text => (isValid(text) ? text : '')],
  ['keys', text => mapMembers(text, ({ key }, object) => (object ? key : 'null'))],
  ['values', text => (isArray(text) ? text : mapMembers(text, ({ value }) => value.raw))],
  ['tostr', text => quoteJson(text)],
  ['fromstr', fromString],
  ['group', group],
  ['dig', dig],
]);

export const modifierNames: ReadonlySet<string> = new Set(modifiers.keys());

/** Runs `@name:argument` at the start of a path; undefined where no modifier has that name. */
export function runModifier(
  text: string,
  path: string,
  search: Search,
): { text: string; rest: string } | undefined {
  const name = path.slice(1).split(/[:|.]/, 1)[0] ?? '';
  const modifier = modifiers.get(name);
  if (modifier === undefined) return undefined;
  let rest = path.slice(1 + name.length);
  let argument = '';
  if (rest.startsWith(':')) {
    rest = rest.slice(1);
    argument = readArgument(rest);
    rest = rest.slice(argument.length);
  }
  return { text: modifier(text, argument, search), rest };
}

function readArgument(text: string): string {
  if (/^[{["]/.test(text)) return text.slice(0, endOfPiece(text, 0));
  let i = 0;
  while (i < text.length && text[i] !== '|') i = /[{["(]/.test(text[i] ?? '') ? endOfPiece(text, i) : i + 1;
  return text.slice(0, i);
}

function endOfPiece(text: string, start: number): number {
  if (text[start] !== '"') return endOfNested(text, start);
  const end = endOfString(text, start);
  return end < 0 ? text.length : end;
}

/** Runs `!literal` at the start of a path; undefined where it is none. */
export function runLiteral(path: string): { text: string; rest: string } | undefined {
  const literal = path.slice(1);
  if (/^[{["+\-0-9]/.test(literal)) {
    const end = endOfNested(literal, 0);
    return { text: literal.slice(0, end), rest: literal.slice(end) };
  }
  const name = literal.split(/[|.]/, 1)[0] ?? '';
  if (!/^(true|false|null|nan|inf)$/i.test(name)) return undefined;
  return { text: name, rest: literal.slice(name.length) };
}

export function isValid(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

const isArray = (text: string) => parseFirst(text)?.raw.startsWith('[') ?? false;

function mapMembers(
  text: string,
  show: (member: { key: string; value: JsonValue }, object: boolean) => string,
): string {
  const value = parseFirst(text);
  const shown: string[] = [];
  const object = value?.raw.startsWith('{') ?? false;
  if (value !== undefined) forEachMember(value, member => void shown.push(show(member, object)));
  return `[${shown.join(',')}]`;
}

function ugly(text: string): string {
  let out = '';
  let from = 0;
  for (let i = 0; i < text.length; i += 1) {
    if (text[i] === '"') {
      const end = endOfString(text, i);
      if (end < 0) break;
      i = end - 1;
    } else if (text.charCodeAt(i) <= 32) {
      out += text.slice(from, i);
      from = i + 1;
    }
  }
  return out + text.slice(from);
}

function reverse(text: string): string {
  const value = parseFirst(text);
  if (value?.kind !== 'json') return text;
  const members: string[] = [];
  forEachMember(value, member => {
    members.push(member.key === '' ? member.value.raw : `${member.key}:${member.value.raw}`);
    return false;
  });
  const inner = members.reverse().join(',');
  return value.raw.startsWith('[') ? `[${inner}]` : `{${inner}}`;
}

/** Whether the argument is an object with that flag set. */
function flagOf(argument: string, name: string): boolean {
  const value = parseFirst(argument);
  let set = false;
  if (value?.kind === 'json') {
    forEachMember(value, member => {
      if (textOf({ kind: 'string', raw: member.key }) === name) set = member.value.kind === 'true';
      return false;
    });
  }
  return set;
}

/** Without the outermost brackets. */
const unwrap = (text: string) => (/^\s*[[{]/.test(text) ? text.trim().slice(1, -1) : text).trim();

function flatten(text: string, argument: string, search: Search): string {
  search.spend(text.length);
  const value = parseFirst(text);
  if (!value?.raw.startsWith('[')) return text;
  const deep = flagOf(argument, 'deep');
  const items: string[] = [];
  forEachMember(value, ({ value: item }) => {
    const inner = item.raw.startsWith('[')
      ? unwrap(deep ? flatten(item.raw, argument, search) : item.raw)
      : item.raw.trim();
    if (inner !== '') items.push(inner);
    return false;
  });
  return `[${items.join(',')}]`;
}

function join(text: string, argument: string): string {
  const value = parseFirst(text);
  if (!value?.raw.startsWith('[')) return text;
  const objects: JsonValue[] = [];
  forEachMember(value, ({ value: item }) => {
    if (item.raw.startsWith('{')) objects.push(item);
    return false;
  });
  if (flagOf(argument, 'preserve')) return `{${objects.map(({ raw }) => unwrap(raw)).join(',')}}`;
  const members = new Map<string, { key: string; raw: string }>();
  for (const object of objects) {
    forEachMember(object, member => {
      const name = textOf({ kind: 'string', raw: member.key });
      members.set(name, { key: members.get(name)?.key ?? member.key, raw: member.value.raw });
      return false;
    });
  }
  return `{${[...members.values()].map(({ key, raw }) => `${key}:${raw}`).join(',')}}`;
}

function fromString(text: string): string {
  const value = isValid(text) ? parseFirst(text) : undefined;
  return value === undefined ? '' : textOf(value);
}

function group(text: string): string {
  const value = parseFirst(text);
  if (!value?.raw.startsWith('{')) return '';
  const groups: string[][] = [];
  forEachMember(value, ({ key, value: items }) => {
    if (!items.raw.startsWith('[')) return false;
    let index = 0;
    forEachMember(items, item => {
      const members = groups[index] ?? [];
      groups[index] = members;
      members.push(`${key}:${item.value.raw}`);
      index += 1;
      return false;
    });
    return false;
  });
  return `[${groups.map(members => `{${members.join(',')}}`).join(',')}]`;
}

function dig(text: string, argument: string, search: Search): string {
  const found: string[] = [];
  const visit = (value: JsonValue) => {
    search.spend(value.raw.length);
    const here = search.lookUp(value.raw, argument);
    if (here !== undefined) found.push(here.raw);
    if (value.kind === 'json') {
      forEachMember(value, member => {
        visit(member.value);
        return false;
      });
    }
  };
  const root = parseFirst(text);
  if (root !== undefined) visit(root);
  return `[${found.join(',')}]`;
}
