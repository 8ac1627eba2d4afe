/** Tells whether a whole text matches. */
export type Glob = (text: string) => boolean;

/** One step of a compiled pattern: takes a character, or goes on in several places at once. */
type Step =
  | { kind: 'take'; takes: (point: number) => boolean }
  | { kind: 'fork'; to: number[] }
  | { kind: 'jump'; to: number };

/**
 * Compiles a pattern of the Go package gobwas/glob as KEDA uses it, without separators: `*` and `**` match
 * anything, slashes included; `?` one character; `[abc]`, `[a-z]`, `[!abc]` one of a set; `{a,b*}` alternatives,
 * which nest; a backslash takes the next character as it is. A brace that is never closed closes at the end.
 *
 * Matching takes time proportional to pattern times text, whatever the pattern: all ways are followed at once.
 *
 * @throws Error with a sentence where gobwas refuses the pattern
 */
export function compileGlob(pattern: string): Glob {
  const steps = new Compiler([...pattern]).compile();
  return text => matches(steps, text);
}

const deepest = 100;

class Compiler {
  readonly #signs: readonly string[];
  readonly #steps: Step[] = [];
  #at = 0;

  constructor(signs: readonly string[]) {
    this.#signs = signs;
  }

  compile(): readonly Step[] {
    this.#sequence(0);
    return this.#steps;
  }

  /** Reads up to the end, or inside braces up to the comma or brace that ends this alternative. */
  #sequence(depth: number): void {
    for (;;) {
      const sign = this.#signs[this.#at];
      if (sign === undefined || (depth > 0 && (sign === ',' || sign === '}'))) return;
      this.#at += 1;
      if (sign === '*') this.#anything();
      else if (sign === '?') this.#take(() => true);
      else if (sign === '[') this.#brackets();
      else if (sign === '{') this.#alternatives(depth + 1);
      else if (sign === '\\') this.#escaped();
      else this.#literal(sign);
    }
  }

  #take(takes: (point: number) => boolean): void {
    this.#steps.push({ kind: 'take', takes });
  }

  #literal(sign: string): void {
    const wanted = sign.codePointAt(0);
    this.#take(point => point === wanted);
  }

  #escaped(): void {
    const sign = this.#signs[this.#at];
    if (sign === undefined) return;
    this.#at += 1;
    this.#literal(sign);
  }

  #anything(): void {
    const start = this.#steps.length;
    this.#steps.push({ kind: 'fork', to: [start + 1, start + 3] });
    this.#take(() => true);
    this.#steps.push({ kind: 'jump', to: start });
  }

  #alternatives(depth: number): void {
    if (depth > deepest) throw new Error(`nests braces more than ${deepest} deep`);
    const starts: number[] = [];
    const ends: { kind: 'jump'; to: number }[] = [];
    this.#steps.push({ kind: 'fork', to: starts });
    do {
      starts.push(this.#steps.length);
      this.#sequence(depth);
      const end = { kind: 'jump' as const, to: 0 };
      ends.push(end);
      this.#steps.push(end);
      this.#at += 1;
    } while (this.#signs[this.#at - 1] === ',');
    for (const end of ends) end.to = this.#steps.length;
  }

  /** What follows an opening bracket. As in gobwas a set is one range or a list, never both. */
  #brackets(): void {
    const not = this.#signs[this.#at] === '!';
    if (not) this.#at += 1;
    const first = this.#signs[this.#at];
    if (first !== undefined && this.#signs[this.#at + 1] === '-') {
      this.#range(first, not);
      return;
    }
    const points = this.#listed();
    if (points.size === 0) throw new Error('has an empty set in brackets');
    this.#take(point => points.has(point) !== not);
  }

  #range(first: string, not: boolean): void {
    const last = this.#signs[this.#at + 2];
    this.#at += 3;
    const [from, to] = [first.codePointAt(0), last?.codePointAt(0)];
    if (from === undefined || to === undefined) throw new Error('has brackets that are not closed');
    if (this.#signs[this.#at] !== ']') throw new Error(`needs "]" after the range ${first}-${last}`);
    this.#at += 1;
    if (to < from) throw new Error(`has the range ${first}-${last}, which runs backwards`);
    this.#take(point => (point >= from && point <= to) !== not);
  }

  #listed(): Set<number> {
    const points = new Set<number>();
    for (;;) {
      let sign = this.#signs[this.#at];
      this.#at += 1;
      if (sign === ']') return points;
      if (sign === '\\') {
        sign = this.#signs[this.#at];
        this.#at += 1;
      }
      const point = sign?.codePointAt(0);
      if (point === undefined) throw new Error('has brackets that are not closed');
      points.add(point);
    }
  }
}

function matches(steps: readonly Step[], text: string): boolean {
  let places = reach(steps, [0]);
  for (const sign of text) {
    const point = sign.codePointAt(0) ?? 0;
    const next: number[] = [];
    for (const place of places) {
      const step = steps[place];
      if (step?.kind === 'take' && step.takes(point)) next.push(place + 1);
    }
    if (next.length === 0) return false;
    places = reach(steps, next);
  }
  return places.has(steps.length);
}

/** All places that can be reached from these without taking a character; the pattern's end is one. */
function reach(steps: readonly Step[], from: readonly number[]): Set<number> {
  const reached = new Set<number>();
  const open = [...from];
  for (let place = open.pop(); place !== undefined; place = open.pop()) {
    if (reached.has(place)) continue;
    reached.add(place);
    const step = steps[place];
    if (step?.kind === 'fork') open.push(...step.to);
    else if (step?.kind === 'jump') open.push(step.to);
  }
  return reached;
}
