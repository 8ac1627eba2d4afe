/** A set of characters, as a question to a code point. */
export type Chars = (code: number) => boolean;

export const range =
  (from: number, to: number): Chars =>
  code =>
    code >= from && code <= to;
export const anyOf =
  (sets: Chars[]): Chars =>
  code =>
    sets.some(set => set(code));
export const not =
  (set: Chars): Chars =>
  code =>
    !set(code);
const digit = range(48, 57);
const lowers = range(97, 122);
const uppers = range(65, 90);
export const word = anyOf([digit, lowers, uppers, code => code === 95]);
const blank: Chars = code => code === 32 || (code >= 9 && code <= 13 && code !== 11);
export const shorthands: Record<string, Chars> = { d: digit, w: word, s: blank };
export const posix: Record<string, Chars> = {
  alnum: anyOf([digit, lowers, uppers]),
  alpha: anyOf([lowers, uppers]),
  ascii: range(0, 127),
  blank: code => code === 9 || code === 32,
  cntrl: anyOf([range(0, 31), code => code === 127]),
  digit,
  graph: range(33, 126),
  lower: lowers,
  print: range(32, 126),
  punct: code => code >= 33 && code <= 126 && !anyOf([digit, lowers, uppers])(code),
  space: anyOf([range(9, 13), code => code === 32]),
  upper: uppers,
  word,
  xdigit: anyOf([digit, range(65, 70), range(97, 102)]),
};
export const controls: Record<string, number> = { a: 7, f: 12, n: 10, r: 13, t: 9, v: 11 };
