import { describe, expect, it } from 'vitest';
import { compilePattern } from './pattern.ts';

function answer(text: string, pattern: string): boolean | 'refused' {
  try {
    return compilePattern(pattern).test(text, () => {});
  } catch {
    return 'refused';
  }
}

describe('patterns match as in Go', () => {
  // Answers of Go 1.26's regexp.
  it.each<[string, string, boolean | 'refused']>([
    ['abc', '^a', true],
    ['abc', 'b$', false],
    ['abc', '^abc$', true],
    ['ab\n', 'b$', false],
    ['ab\nc', '(?m)b$', true],
    ['a\nb', 'a.b', false],
    ['a\nb', '(?s)a.b', true],
    ['ABC', 'abc', false],
    ['ABC', '(?i)abc', true],
    ['ABC', '(?i)[a-c]+$', true],
    ['aBc', 'a(?i:b)c', true],
    ['abC', 'a(?i:b)c', false],
    ['a1', '^[[:alpha:]][[:digit:]]$', true],
    ['-', '[a\\-z]', true],
    ['b', '[a\\-z]', false],
    [']', '[]]', true],
    ['a', '[^]]', true],
    ['foo bar', '\\bbar\\b', true],
    ['foobar', '\\bbar', false],
    ['foobar', '\\Bbar', true],
    ['x', '\\x78', true],
    ['x', '\\x{78}', true],
    ['\t', '\\t', true],
    ['a.b', 'a\\.b', true],
    ['axb', 'a\\.b', false],
    ['a.b', '^\\Qa.b\\E$', true],
    ['a+', '\\Qa+', true],
    ['é', '^.$', true],
    ['é', '\\pL', true],
    ['1', '\\PL', true],
    ['α', '\\p{Greek}', true],
    ['aaa', '^a{3}$', true],
    ['aaaa', '^a{2,3}$', false],
    ['aaaa', '^a{2,}$', true],
    ['a{', 'a{', true],
    ['a{,2}', '^a{,2}$', true],
    ['ab', '^(?:a|b)*$', true],
    ['', '^$', true],
    ['', 'a|', true],
    ['abab', '^(ab)+$', true],
    ['aaa', '^a+?$', true],
    ['a', '^(?P<n>a)$', true],
    ['a', '^(?<n>a)$', true],
    ['a', '(?=a)', 'refused'],
    ['aa', '(a)\\1', 'refused'],
    ['a', 'a**', 'refused'],
    ['a', '*a', 'refused'],
    ['a', '(a', 'refused'],
    ['a', 'a)', 'refused'],
    ['a', '[a', 'refused'],
    ['a', '[b-a]', 'refused'],
    ['a', 'a{2,1}', 'refused'],
    ['a', 'a{1001}', 'refused'],
    ['a', '\\y', 'refused'],
    ['a', '\\pQ', 'refused'],
    ['a', '(?i', 'refused'],
    ['a', '[[:foo:]]', 'refused'],
    ['a', '(?x)a', 'refused'],
    ['a', '\\', 'refused'],
    ['a1_', '^\\w+$', true],
    [' \t\n', '^\\s+$', true],
    ['\v', '\\s', false],
    ['a', '\\D\\z', true],
    ['b', '\\Ab', true],
    ['ab', '\\Ab', false],
    ['a', '()*a', true],
    ['a', '(a*)*$', true],
    ['aab', '(?U)a+b', true],
    ['\x07', '\\a', true],
    ['A', '\\101', true],
  ])('%j against %j: %s', (text, pattern, expected) => {
    expect(answer(text, pattern)).toBe(expected);
  });
});

describe('patterns cannot hold the process up', () => {
  it('takes time in step with the text where a backtracking engine would never end', () => {
    const pattern = compilePattern('^(a+)+$');
    let spent = 0;

    const matched = pattern.test(`${'a'.repeat(10_000)}!`, steps => {
      spent += steps;
    });

    expect(matched).toBe(false);
    expect(spent).toBeLessThan(10_001 * 20);
  });

  it('ends a search when what it may spend is spent', () => {
    const pattern = compilePattern('(a?){50}b');
    let left = 1_000;

    const search = () =>
      pattern.test('a'.repeat(10_000), steps => {
        left -= steps;
        if (left < 0) throw new Error('spent');
      });

    expect(search).toThrow('spent');
  });

  it.each(['((a{100}){100}){100}', '('.repeat(200) + ')'.repeat(200)])('refuses %s for its size', pattern => {
    expect(() => compilePattern(pattern)).toThrow(/cannot be used|too large/);
  });
});
