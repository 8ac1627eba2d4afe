/** One word of a formula. `at` and `end` are offsets into the text the lexer was given. */
export interface Token {
  kind: 'name' | 'number' | 'text' | 'operator' | 'bracket' | 'end';
  value: string;
  at: number;
  end: number;
}

/** What is wrong with a formula at an offset of its text; `formula.ts` turns the offset into line and column. */
export class Misspelling extends Error {
  readonly at: number;

  constructor(message: string, at: number) {
    super(message);
    this.at = at;
  }
}

const wordOperators = new Set([
  'not',
  'in',
  'or',
  'and',
  'matches',
  'contains',
  'startsWith',
  'endsWith',
  'let',
  'if',
  'else',
]);

const space = /\s+/y;
const name = /[\p{L}_$][\p{L}\p{Nd}_$]*/uy;
const number =
  /(?:0[xX][0-9a-fA-F_]*|0[oO][0-7_]*|0[bB][01_]*|[0-9][0-9_]*)?(?:\.(?!\.)[0-9_]*)?(?:[eE][+-]?[0-9_]*)?/y;
const comment = /\/\/[^\n]*|\/\*[\s\S]*?\*\//y;
const operator = /\?[.?]?|\|\|?|::?|[&!=*<>][&=*]?|\.\.?|##?|[,;%+\-^/]/y;
const simpleEscapes: Record<string, string> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
};

/**
 * Splits a formula into tokens; the last one is always `end`. The language is that of expr-lang/expr 1.17
 * (docs/language-definition.md there), except that byte strings (`b"…"`) are refused.
 * Throws a `Misspelling`.
 */
export function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    return pattern.exec(text)?.[0];
  };
  const push = (kind: Token['kind'], value: string, length: number): void => {
    tokens.push({ kind, value, at, end: at + length });
    at += length;
  };

  while (at < text.length) {
    const char = text.charAt(at);
    const gap = take(space) ?? take(comment);
    if (gap !== undefined) {
      at += gap.length;
    } else if (char === '/' && text[at + 1] === '*') {
      throw new Misspelling('a comment opened with /* is not closed', at);
    } else if ((char === 'b' || char === 'B') && /['"]/.test(text.charAt(at + 1))) {
      throw new Misspelling('byte strings (b"…") cannot be used in a formula', at);
    } else if (char === '"' || char === "'") {
      const { value, end } = quoted(text, at);
      push('text', value, end - at);
    } else if (char === '`') {
      const raw = /`(?:[^`]|``)*`(?!`)/y;
      const found = take(raw);
      if (found === undefined) throw new Misspelling('a string opened with ` is not closed', at);
      push('text', found.slice(1, -1).replaceAll('``', '`'), found.length);
    } else if (/[0-9]/.test(char) || (char === '.' && /[0-9]/.test(text.charAt(at + 1)))) {
      const found = take(number) ?? char;
      const next = text.slice(at + found.length, at + found.length + 2);
      if (/^[\p{L}\p{Nd}_$]/u.test(next)) {
        throw new Misspelling(`"${found}${next.charAt(0)}" is not a number`, at);
      }
      push('number', found, found.length);
    } else if ('()[]{}'.includes(char)) {
      push('bracket', char, 1);
    } else {
      const word = take(name);
      if (word !== undefined) {
        push(wordOperators.has(word) ? 'operator' : 'name', word, word.length);
        continue;
      }
      const sign = take(operator);
      if (sign === undefined) {
        const strange = String.fromCodePoint(text.codePointAt(at) ?? 0);
        throw new Misspelling(`${JSON.stringify(strange)} means nothing in a formula`, at);
      }
      push('operator', sign, sign.length);
    }
  }
  tokens.push({ kind: 'end', value: '', at: text.length, end: text.length });
  return tokens;
}

/** Reads a string in single or double quotes: no bare line feed, Go's escapes, a lone carriage return is a line feed. */
function quoted(text: string, start: number): { value: string; end: number } {
  const quote = text.charAt(start);
  let value = '';
  let at = start + 1;
  for (;;) {
    const char = text.charAt(at);
    if (char === '' || char === '\n' || (char === '\r' && text[at + 1] === '\n')) {
      throw new Misspelling(`a string opened with ${quote} is not closed`, start);
    }
    if (char === quote) return { value, end: at + 1 };
    if (char === '\\') {
      const { value: meant, length } = escapeAt(text.slice(at + 1, at + 12), { quote, at });
      value += meant;
      at += 1 + length;
    } else {
      value += char === '\r' ? '\n' : char;
      at += 1;
    }
  }
}

function escapeAt(rest: string, where: { quote: string; at: number }): { value: string; length: number } {
  const char = rest.charAt(0);
  const simple = char === where.quote ? char : Object.hasOwn(simpleEscapes, char) && simpleEscapes[char];
  if (simple) return { value: simple, length: 1 };
  const octal = /^[0-3][0-7]{2}/.exec(rest)?.[0];
  if (octal !== undefined) return { value: String.fromCodePoint(Number.parseInt(octal, 8)), length: 3 };
  const hex = /^(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|u\{([\da-fA-F]{1,6})\})/.exec(rest);
  if (hex !== null) {
    const code = Number.parseInt(hex[1] ?? hex[2] ?? hex[3] ?? hex[4] ?? '', 16);
    const surrogate = code >= 0xd800 && code <= 0xdfff;
    if (code <= 0x10ffff) {
      return { value: surrogate ? '\ufffd' : String.fromCodePoint(code), length: hex[0].length };
    }
  }
  throw new Misspelling(`"\\${char}" is not an escape that strings know`, where.at);
}

/** `2:5` for an offset into a text; an offset outside points at the nearest end. */
export function lineAndColumn(text: string, at: number): string {
  const before = text.slice(0, Math.max(0, Math.min(at, text.length)));
  const line = before.split('\n').length;
  return `${line}:${before.length - before.lastIndexOf('\n')}`;
}
