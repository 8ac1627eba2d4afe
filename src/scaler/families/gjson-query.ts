import { Fault } from '../../base/errors.ts';
import type { Query } from './gjson-path.ts';
import { goFloat, type JsonValue, textOf } from './gjson-scan.ts';

/** Characters that may still be looked at: paths can be written that double the text with every step. */
export interface Work {
  left: number;
}

export const mostWork = 64 * 1024 * 1024;

/** @throws Fault SOURCE_ANSWER_INVALID when the work is used up */
export function spend(work: Work, amount: number): void {
  work.left -= amount;
  if (work.left < 0) {
    throw new Fault('SOURCE_ANSWER_INVALID', 'the path asks for too much work on this answer');
  }
}

/** Whether a value, if there is one, is what a query asks for. */
export function matchesQuery(
  { operator, value: written }: Query,
  found: JsonValue | undefined,
  work: Work,
): boolean {
  let subject = found;
  let wanted = written;
  if (wanted.startsWith('~')) {
    const truth = truthOf(wanted.slice(1), found);
    subject = truth === undefined ? undefined : { kind: truth ? 'true' : 'false', raw: String(truth) };
    wanted = truth === undefined ? '' : 'true';
  }
  if (subject === undefined) return false;
  if (operator === '') return true;
  switch (subject.kind) {
    case 'string': {
      const text = textOf(subject);
      if (operator === '%') return matchesGlob(text, wanted, work);
      if (operator === '!%') return !matchesGlob(text, wanted, work);
      return compares(operator, Buffer.compare(Buffer.from(text), Buffer.from(wanted)));
    }
    case 'number': {
      const [left, right] = [goFloat(subject.raw), goFloat(wanted)];
      if (Number.isNaN(left) || Number.isNaN(right)) return operator === '!=';
      return compares(operator, left < right ? -1 : left > right ? 1 : 0);
    }
    case 'true':
    case 'false': {
      if (operator === '=' || operator === '!=') return (wanted === subject.raw) === (operator === '=');
      const above = subject.kind === 'true' ? '>' : '<';
      return operator === `${above}=` || (operator === above && wanted === String(subject.kind === 'false'));
    }
    default:
      return false;
  }
}

function compares(operator: string, order: number): boolean {
  switch (operator) {
    case '=':
      return order === 0;
    case '!=':
      return order !== 0;
    case '<':
      return order < 0;
    case '<=':
      return order <= 0;
    case '>':
      return order > 0;
    case '>=':
      return order >= 0;
    default:
      return false;
  }
}

/** What `~true`, `~false`, `~null` and `~*` say of a value; undefined for anything else after the tilde. */
function truthOf(asked: string, value: JsonValue | undefined): boolean | undefined {
  const word = value?.kind === 'string' ? textOf(value).toLowerCase() : undefined;
  switch (asked) {
    case '*':
      return value !== undefined;
    case 'null':
      return value === undefined || value.kind === 'null';
    case 'true':
      if (value?.kind === 'number') return goFloat(value.raw) !== 0;
      return value?.kind === 'true' || /^(1|t|true)$/.test(word ?? '');
    case 'false':
      if (value?.kind === 'number') return goFloat(value.raw) === 0;
      return value === undefined || /^(null|false)$/.test(value.kind) || /^(0|f|false)$/.test(word ?? '');
    default:
      return undefined;
  }
}

/** `*` any characters, `?` one character, a backslash takes the sign from the next. */
export function matchesGlob(text: string, pattern: string, work: Work): boolean {
  const chars = [...text];
  const signs: (string | symbol)[] = [];
  const any = Symbol('*');
  const one = Symbol('?');
  for (let i = 0, points = [...pattern]; i < points.length; i += 1) {
    const point = points[i] ?? '';
    if (point === '*') signs.push(any);
    else if (point === '?') signs.push(one);
    else if (point !== '\\') signs.push(point);
    else {
      i += 1;
      const escaped = points[i];
      if (escaped === undefined) return false;
      signs.push(escaped);
    }
  }
  let [at, sign, star, starAt] = [0, 0, -1, 0];
  while (at < chars.length) {
    spend(work, 1);
    if (signs[sign] === any) {
      star = sign;
      starAt = at;
      sign += 1;
    } else if (sign < signs.length && (signs[sign] === one || signs[sign] === chars[at])) {
      at += 1;
      sign += 1;
    } else if (star >= 0) {
      starAt += 1;
      at = starAt;
      sign = star + 1;
    } else {
      return false;
    }
  }
  while (signs[sign] === any) sign += 1;
  return sign === signs.length;
}
