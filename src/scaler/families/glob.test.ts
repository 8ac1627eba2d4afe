import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileGlob } from './glob.ts';

/** Facts from the documentation of gobwas/glob and its behaviour without separators. */
describe('a glob without separators', () => {
  it.each([
    ['', '', true],
    ['', 'b', false],
    ['abc', 'abc', true],
    ['abc', 'abcd', false],
    ['*', 'any/thing at all', true],
    ['*', '', true],
    ['**', 'a/b/c', true],
    ['*.json', 'folder/sub/x.json', true],
    ['*.json', 'x.jsonl', false],
    ['folder/*.json', 'folder/sub/x.json', true],
    ['folder/*.json', 'other/x.json', false],
    ['*abc', 'abcabc', true],
    ['**is**a***test*', 'this is a test', true],
    ['*no*', 'this is a test', false],
    ['???', 'abc', true],
    ['?*?', 'ac', true],
    ['?*?', 'a', false],
    ['sta?', 'stagnation', false],
    ['?', '日', true],
    ['?', '🌙', true],
    ['*ä', 'åä', true],
    ['a.b', 'axb', false],
    ['a+(b)|c^$', 'a+(b)|c^$', true],
    [String.raw`\*`, '*', true],
    [String.raw`\*`, 'x', false],
    [String.raw`\{a,b\}`, '{a,b}', true],
    ['ends in a backslash\\', 'ends in a backslash', true],
    ['[abc]x', 'bx', true],
    ['[abc]x', 'dx', false],
    ['[!abc]x', 'dx', true],
    ['[!abc]x', 'ax', false],
    ['[a-c]', 'b', true],
    ['[a-c]', 'd', false],
    ['[!a-c]', 'd', true],
    ['[ab-c]', '-', true],
    ['[-a]', '-', true],
    [String.raw`[x\]]`, ']', true],
    ['[!!a]', '!', false],
    ['[日-本]', '木', true],
    ['[a-z][!a-x]*cat*[h][!b]*eyes*', 'my cat has very bright eyes', true],
    ['[a-z][!a-x]*cat*[h][!b]*eyes*', 'my dog has very bright eyes', false],
    ['{abc,def}ghi', 'defghi', true],
    ['{abc,def}ghi', 'abcdef', false],
    ['{abc,abcd}a', 'abcda', true],
    ['{a,ab}{bc,f}', 'abc', true],
    ['{*,**}{a,b}', 'ac', false],
    ['*//{,*.}example.com', 'https://www.example.com', true],
    ['*//{,*.}example.com', 'http://example.com', true],
    ['*//{,*.}example.com', 'http://example.com.net', false],
    ['{a{1,2},b}c', 'a2c', true],
    ['{a{1,2},b}c', 'bc', true],
    ['{a{1,2},b}c', 'ac', false],
    ['{}x', 'x', true],
    ['{never,closed', 'closed', true],
    ['a,b}', 'a,b}', true],
  ])('%j on %j: %s', (pattern, text, expected) => {
    expect(compileGlob(pattern)(text)).toBe(expected);
  });

  it.each([
    [String.raw`[\]`, 'not closed'],
    ['[', 'not closed'],
    ['[a', 'not closed'],
    ['[a-', 'not closed'],
    ['[]', 'empty set'],
    ['[!]', 'empty set'],
    ['[a-cx]', 'needs "]"'],
    ['[c-a]', 'backwards'],
    ['{'.repeat(50_000), '100 deep'],
  ])('refuses %.20j', (pattern, sentence) => {
    expect(() => compileGlob(pattern)).toThrow(sentence);
  });

  it('agrees with the regular expression that says the same', () => {
    const parts = fc.constantFrom('a', 'b', '/', '*', '**', '?', '[ab]', '[!a]', '{a,b*}', '{,?/}');
    const inRegex: Record<string, string> = {
      '*': '.*',
      '**': '.*',
      '?': '.',
      '[ab]': '[ab]',
      '[!a]': '[^a]',
      '{a,b*}': '(a|b.*)',
      '{,?/}': '(|./)',
    };
    const texts = fc.array(fc.constantFrom('a', 'b', '/'), { maxLength: 8 }).map(signs => signs.join(''));
    fc.assert(
      fc.property(fc.array(parts, { maxLength: 6 }), texts, (pattern, text) => {
        const regex = new RegExp(`^${pattern.map(part => inRegex[part] ?? part).join('')}$`);

        expect(compileGlob(pattern.join(''))(text)).toBe(regex.test(text));
      }),
      { numRuns: 500 },
    );
  });

  it('stays quick on a pattern made to be slow', () => {
    const glob = compileGlob(`${'*a'.repeat(40)}b`);

    expect(glob('a'.repeat(1_024))).toBe(false);
  });
});
