import { Fault } from './errors.ts';
import { anyOf, type Chars, controls, not, posix, range, shorthands, word } from './pattern-classes.ts';

/** Whether a place between two characters will do; `none` stands for the ends of the text. */
type Assertion = (before: number, after: number) => boolean;

/** A pattern as a tree. */
export type Part =
  | { kind: 'chars'; chars: Chars }
  | { kind: 'assert'; holds: Assertion }
  | { kind: 'all'; parts: Part[] }
  | { kind: 'either'; parts: Part[] }
  | { kind: 'repeat'; part: Part; least: number; most: number };

interface Flags {
  i: boolean;
  s: boolean;
  m: boolean;
}

const mostRepeats = 1_000;
const deepest = 100;
/** What stands before the first character and after the last. */
export const none = -1;

/** Parses a pattern in RE2's syntax; throws a Fault FORMULA_FAILED that says what is wrong with it. */
export function parsePattern(source: string): Part {
  return new PatternParser(source).whole();
}

class PatternParser {
  readonly #source: string;
  readonly #chars: string[];
  #next = 0;
  #depth = 0;
  #flags: Flags = { i: false, s: false, m: false };

  constructor(source: string) {
    this.#source = source;
    this.#chars = [...source];
  }

  whole(): Part {
    const part = this.#either();
    if (this.#next < this.#chars.length) throw this.#wrong('a ) has no (');
    return part;
  }

  #wrong(why: string): Fault {
    const shown = this.#source.length > 60 ? `${this.#source.slice(0, 60)}…` : this.#source;
    return new Fault('FORMULA_FAILED', `the pattern ${JSON.stringify(shown)} cannot be used: ${why}`);
  }

  #accept(text: string): boolean {
    if (
      !this.#chars
        .slice(this.#next, this.#next + text.length)
        .join('')
        .startsWith(text)
    )
      return false;
    this.#next += text.length;
    return true;
  }

  #either(): Part {
    this.#depth += 1;
    if (this.#depth > deepest) throw this.#wrong(`it nests deeper than ${deepest} levels`);
    const parts = [this.#all()];
    while (this.#accept('|')) parts.push(this.#all());
    this.#depth -= 1;
    const [only] = parts;
    return parts.length === 1 && only !== undefined ? only : { kind: 'either', parts };
  }

  #all(): Part {
    const parts: Part[] = [];
    let repeated = false;
    for (;;) {
      const char = this.#chars[this.#next];
      if (char === undefined || char === '|' || char === ')') return { kind: 'all', parts };
      const counts = this.#counts();
      if (counts === undefined) {
        parts.push(...this.#atoms());
        repeated = false;
        continue;
      }
      const part = parts.pop();
      if (part === undefined) throw this.#wrong('there is nothing to repeat');
      if (repeated) throw this.#wrong('one repetition follows another');
      this.#accept('?');
      parts.push({ kind: 'repeat', part, ...counts });
      repeated = true;
    }
  }

  #counts(): { least: number; most: number } | undefined {
    if (this.#accept('*')) return { least: 0, most: Number.POSITIVE_INFINITY };
    if (this.#accept('+')) return { least: 1, most: Number.POSITIVE_INFINITY };
    if (this.#accept('?')) return { least: 0, most: 1 };
    const found = /^\{(\d+)(?:(,)(\d*))?\}/.exec(this.#chars.slice(this.#next, this.#next + 16).join(''));
    if (found === null) return undefined;
    this.#next += found[0].length;
    const least = Number(found[1]);
    const most =
      found[2] === undefined ? least : found[3] === '' ? Number.POSITIVE_INFINITY : Number(found[3]);
    if (least > mostRepeats || (most > mostRepeats && Number.isFinite(most)) || most < least) {
      throw this.#wrong(`${found[0]} is no count of repetitions up to ${mostRepeats}`);
    }
    return { least, most };
  }

  /** What one notation stands for: one part, none for flags, several for quoted text. */
  #atoms(): Part[] {
    const char = this.#chars[this.#next] ?? '';
    this.#next += 1;
    const { s, m } = this.#flags;
    switch (char) {
      case '(':
        return this.#group();
      case '[':
        return [{ kind: 'chars', chars: this.#class() }];
      case '.':
        return [{ kind: 'chars', chars: s ? () => true : code => code !== 10 }];
      case '^':
        return [{ kind: 'assert', holds: before => before === none || (m && before === 10) }];
      case '$':
        return [{ kind: 'assert', holds: (_before, after) => after === none || (m && after === 10) }];
      case '\\':
        return this.#accept('Q') ? this.#quoted() : [this.#escape()];
      default:
        return [this.#literal(char)];
    }
  }

  #literal(char: string): Part {
    return { kind: 'chars', chars: this.#same(char.codePointAt(0) ?? 0) };
  }

  #quoted(): Part[] {
    const parts: Part[] = [];
    while (this.#next < this.#chars.length && !this.#accept('\\E')) {
      parts.push(this.#literal(this.#chars[this.#next] ?? ''));
      this.#next += 1;
    }
    return parts;
  }

  #same(code: number): Chars {
    if (!this.#flags.i) return other => other === code;
    const folded = String.fromCodePoint(code).toLowerCase();
    return other => other === code || String.fromCodePoint(other).toLowerCase() === folded;
  }

  #group(): Part[] {
    const outer = this.#flags;
    if (this.#accept('?')) {
      const rest = this.#chars.slice(this.#next, this.#next + 80).join('');
      const named = /^(?:P?<[A-Za-z0-9_]+>)/.exec(rest);
      const flags = /^([ismU]*)(?:-([ismU]+))?([:)])/.exec(rest);
      if (named !== null) this.#next += named[0].length;
      else if (flags !== null && (flags[3] === ':' || flags[0] !== ')')) {
        this.#next += flags[0].length;
        this.#flags = { ...this.#flags };
        for (const flag of flags[1] ?? '') if (flag !== 'U') this.#flags[flag as keyof Flags] = true;
        for (const flag of flags[2] ?? '') if (flag !== 'U') this.#flags[flag as keyof Flags] = false;
        // `(?i)` has no end of its own: it holds until the group around it closes.
        if (flags[3] === ')') return [];
      } else throw this.#wrong('it has a group that is neither named nor a set of flags');
    }
    const part = this.#either();
    if (!this.#accept(')')) throw this.#wrong('a ( is not closed');
    this.#flags = outer;
    return [part];
  }

  #escape(): Part {
    const char = this.#chars[this.#next] ?? '';
    this.#next += 1;
    const boundary: Assertion = (before, after) =>
      (before !== none && word(before)) !== (after !== none && word(after));
    switch (char) {
      case 'b':
        return { kind: 'assert', holds: boundary };
      case 'B':
        return { kind: 'assert', holds: (before, after) => !boundary(before, after) };
      case 'A':
        return { kind: 'assert', holds: before => before === none };
      case 'z':
        return { kind: 'assert', holds: (_before, after) => after === none };
      default: {
        const shorthand = this.#shorthand(char);
        return { kind: 'chars', chars: shorthand ?? this.#same(this.#escaped(char)) };
      }
    }
  }

  #shorthand(char: string): Chars | undefined {
    const set = Object.hasOwn(shorthands, char.toLowerCase()) ? shorthands[char.toLowerCase()] : undefined;
    if (set !== undefined) return char === char.toLowerCase() ? set : not(set);
    if (char !== 'p' && char !== 'P') return undefined;
    const rest = this.#chars.slice(this.#next, this.#next + 40).join('');
    const found = /^(?:\{(\^?)(\w+)\}|(\w))/.exec(rest);
    if (found === null) throw this.#wrong(`\\${char} needs the name of a class`);
    this.#next += found[0].length;
    const name = found[2] ?? found[3] ?? '';
    let property: RegExp;
    try {
      property = new RegExp(/^[A-Z][a-z]?$/.test(name) ? `\\p{${name}}` : `\\p{Script=${name}}`, 'u');
    } catch {
      throw this.#wrong(`there is no class named ${name}`);
    }
    const chars: Chars = code => property.test(String.fromCodePoint(code));
    return (char === 'P') !== (found[1] === '^') ? not(chars) : chars;
  }

  /** The code point of an escape that stands for one character; the letter is already taken. */
  #escaped(char: string): number {
    const control = Object.hasOwn(controls, char) ? controls[char] : undefined;
    if (control !== undefined) return control;
    const rest = this.#chars.slice(this.#next, this.#next + 12).join('');
    const hex = char === 'x' ? /^(?:([0-9a-fA-F]{2})|\{([0-9a-fA-F]{1,6})\})/.exec(rest) : null;
    const octal = /^[0-7]{1,2}/.exec(rest)?.[0] ?? '';
    if (hex !== null) {
      this.#next += hex[0].length;
      const code = Number.parseInt(hex[1] ?? hex[2] ?? '', 16);
      if (code <= 0x10ffff) return code;
    } else if (char === '0' || (/[1-7]/.test(char) && octal !== '')) {
      this.#next += octal.length;
      return Number.parseInt(char + octal, 8);
    } else if (char !== '' && /[!-/:-@[-`{-~]/.test(char)) {
      return char.codePointAt(0) ?? 0;
    }
    throw this.#wrong(`\\${char} is not an escape`);
  }

  #class(): Chars {
    const sets: Chars[] = [];
    const negated = this.#accept('^');
    for (let first = true; ; first = false) {
      if (!first && this.#accept(']')) break;
      const named = /^\[:(\^?)(\w+):\]/.exec(this.#chars.slice(this.#next, this.#next + 16).join(''));
      if (named !== null) {
        const set = Object.hasOwn(posix, named[2] ?? '') ? posix[named[2] ?? ''] : undefined;
        if (set === undefined) throw this.#wrong(`there is no class named ${named[2]}`);
        this.#next += named[0].length;
        sets.push(named[1] === '^' ? not(set) : set);
        continue;
      }
      const from = this.#member();
      if (typeof from === 'function') {
        sets.push(from);
        continue;
      }
      const dashed = this.#chars[this.#next] === '-' && this.#chars[this.#next + 1] !== ']';
      if (!dashed) {
        sets.push(this.#same(from));
        continue;
      }
      this.#next += 1;
      const to = this.#member();
      if (typeof to === 'function' || to < from)
        throw this.#wrong('it has a range that ends before it begins');
      sets.push(this.#flags.i ? foldedRange(from, to) : range(from, to));
    }
    return negated ? not(anyOf(sets)) : anyOf(sets);
  }

  #member(): Chars | number {
    const char = this.#chars[this.#next];
    if (char === undefined) throw this.#wrong('a [ is not closed');
    this.#next += 1;
    if (char !== '\\') return char.codePointAt(0) ?? 0;
    const escaped = this.#chars[this.#next] ?? '';
    this.#next += 1;
    return this.#shorthand(escaped) ?? this.#escaped(escaped);
  }
}

function foldedRange(from: number, to: number): Chars {
  const within = range(from, to);
  return code => {
    const char = String.fromCodePoint(code);
    return [char, char.toLowerCase(), char.toUpperCase()].some(each => within(each.codePointAt(0) ?? 0));
  };
}
