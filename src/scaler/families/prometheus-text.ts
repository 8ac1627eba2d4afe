import { parsePrometheusNumber } from './prometheus-answer.ts';

/** Which sample of a page in the Prometheus text format is meant. */
export interface Selector {
  name: string;
  matchers: readonly Matcher[];
}

interface Matcher {
  label: string;
  /** Whether the label's value, empty where it is absent, is one that is meant. */
  matches(value: string): boolean;
}

/**
 * Reads a PromQL selector of one metric: `name`, `name{label="value"}` or `{"name",label="value"}`. Of the
 * regular expressions only alternatives of plain text with `.*` and `.+` in them are taken, so that no
 * expression can keep us busy.
 *
 * @throws Error with a sentence about the text
 */
export function parseSelector(text: string): Selector {
  const line = new Line(text.trim());
  let name = line.bareName();
  const matchers: Matcher[] = [];
  if (line.takes('{')) {
    while (!line.takes('}')) {
      const label = line.quoted() ?? line.bareName();
      if (label === '') throw new Error('has no label where one is needed');
      const operator = line.operator();
      if (operator === undefined) {
        if (name !== '') throw new Error(`has two names, "${name}" and "${label}"`);
        name = label;
      } else {
        const value = line.quoted();
        if (value === undefined) throw new Error(`has no quoted value for the label "${label}"`);
        if (label === '__name__' && operator === '=') name = value;
        else matchers.push(matcher(label, operator, value));
      }
      if (!line.takes(',') && !line.sees('}')) throw new Error('has no end to its labels');
    }
  }
  if (!line.isAtEnd()) throw new Error('has something after the selector');
  if (name === '') throw new Error('names no metric');
  return { name, matchers };
}

function matcher(label: string, operator: string, value: string): Matcher {
  switch (operator) {
    case '=':
      return { label, matches: given => given === value };
    case '!=':
      return { label, matches: given => given !== value };
    default: {
      const alternatives = value.split('|').map(plainPattern);
      const any = (given: string) => alternatives.some(pieces => fits(given, pieces));
      return { label, matches: operator === '=~' ? any : given => !any(given) };
    }
  }
}

type Piece = { text: string } | { atLeast: number };

function plainPattern(pattern: string): Piece[] {
  const pieces = pattern.split(/(\.[*+])/).filter(piece => piece !== '');
  return pieces.map(piece => {
    if (piece === '.*') return { atLeast: 0 };
    if (piece === '.+') return { atLeast: 1 };
    if (/[\\^$.*+?()[\]{}]/.test(piece)) {
      throw new Error(`has the expression "${pattern}"; only plain text, |, .* and .+ are understood`);
    }
    return { text: piece };
  });
}

/** Whether the pieces cover the text; the first place where a piece of text is found is as good as any. */
function fits(text: string, pieces: readonly Piece[]): boolean {
  let at = 0;
  let floating = false;
  for (const [index, piece] of pieces.entries()) {
    if ('atLeast' in piece) {
      at += piece.atLeast;
      floating = true;
      continue;
    }
    const last = index === pieces.length - 1;
    const found = !floating ? at : last ? text.length - piece.text.length : text.indexOf(piece.text, at);
    if (found < at || !text.startsWith(piece.text, found)) return false;
    at = found + piece.text.length;
    floating = false;
  }
  return floating ? at <= text.length : at === text.length;
}

/**
 * The first sample that is meant on a page in the Prometheus text format (0.0.4, OpenMetrics and the quoted
 * names of version 1), or undefined where there is none. A histogram's `_count` and a summary's quantiles are
 * samples like others, which KEDA cannot read.
 *
 * @throws Error with a sentence about the line that cannot be read
 */
export function findSample(page: string, { name, matchers }: Selector): number | undefined {
  for (const { line, number } of samples(page)) {
    // Most lines are of other metrics, and need no more than this look.
    if (!line.startsWith('{') && !(line.startsWith(name) && /[\s{]/.test(line[name.length] ?? ''))) continue;
    const sample = parseSample(line, number);
    if (sample.name !== name) continue;
    if (matchers.every(({ label, matches }) => matches(sample.labels.get(label) ?? ''))) return sample.value;
  }
  return undefined;
}

/** Whether every line of a page can be read. */
export function isPrometheusText(page: string): boolean {
  let count = 0;
  try {
    for (const { line, number } of samples(page)) {
      parseSample(line, number);
      count += 1;
    }
  } catch {
    return false;
  }
  return count > 0;
}

function* samples(page: string): Generator<{ line: string; number: number }> {
  let start = 0;
  for (let number = 1; start < page.length; number += 1) {
    const newline = page.indexOf('\n', start);
    const end = newline < 0 ? page.length : newline;
    const line = page.slice(start, end).trim();
    if (line !== '' && !line.startsWith('#')) yield { line, number };
    start = end + 1;
  }
}

function parseSample(text: string, number: number) {
  const wrong = (what: string) => new Error(`line ${number} ${what}`);
  const line = new Line(text);
  let name = line.bareName();
  const labels = new Map<string, string>();
  if (line.takes('{')) {
    while (!line.takes('}')) {
      const label = line.quoted() ?? line.bareName();
      if (label === '') throw wrong('has no label where one is needed');
      if (line.operator() === '=') {
        const value = line.quoted();
        if (value === undefined) throw wrong(`has no value for the label "${label}"`);
        labels.set(label, value);
      } else {
        name = label;
      }
      if (!line.takes(',') && !line.sees('}')) throw wrong('has no end to its labels');
    }
  }
  if (name === '') throw wrong('names no metric');
  const value = parsePrometheusNumber(line.word());
  if (value === undefined) throw wrong('has no number');
  return { name, labels, value };
}

/** Reads one line from left to right. */
class Line {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  isAtEnd(): boolean {
    this.#skipSpace();
    return this.#at >= this.#text.length;
  }

  sees(char: string): boolean {
    this.#skipSpace();
    return this.#text[this.#at] === char;
  }

  takes(char: string): boolean {
    if (!this.sees(char)) return false;
    this.#at += 1;
    return true;
  }

  bareName(): string {
    return this.#match(/[a-zA-Z_:][a-zA-Z0-9_:]*/y) ?? '';
  }

  operator(): string | undefined {
    return this.#match(/=~|!=|!~|=/y);
  }

  word(): string {
    return this.#match(/\S+/y) ?? '';
  }

  /** A text in quotes, without them. */
  quoted(): string | undefined {
    const written = this.#match(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/y);
    return written?.slice(1, -1).replace(/\\(.)/g, (_, char: string) => (char === 'n' ? '\n' : char));
  }

  #match(pattern: RegExp): string | undefined {
    this.#skipSpace();
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  #skipSpace(): void {
    while (this.#text[this.#at] === ' ' || this.#text[this.#at] === '\t') this.#at += 1;
  }
}
