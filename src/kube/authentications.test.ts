import { describe, expect, it } from 'vitest';
import { namesAfter } from './authentications.ts';

describe('the names of the users of an authentication', () => {
  it.each([
    ['starts with the first', '', ['a'], [], 'a'],
    ['adds at the end', 'b,c', ['a'], [], 'b,c,a'],
    ['adds nobody twice', 'a,b', ['a'], [], 'a,b'],
    ['keeps those that it does not know of', 'x', ['a'], [], 'x,a'],
    ['drops those that left', 'a,b,c', [], ['b'], 'a,c'],
    ['keeps one whose name another user still has', 'a', ['a'], ['a'], 'a'],
    ['ends empty', 'a', [], ['a'], ''],
  ])('%s', (_title, before, coming, leaving, after) => {
    expect(namesAfter(before, new Set(coming), new Set(leaving))).toBe(after);
  });
});
