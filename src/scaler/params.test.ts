import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Secret } from '../base/secret.ts';
import { formatProblem } from '../spec/problem.ts';
import { type ParamInput, p, readParams, type Shape } from './params.ts';

const input = (over: Partial<ParamInput> = {}): ParamInput => ({ metadata: {}, auth: {}, env: {}, ...over });
const doc = 'A parameter.';

/** The value of one parameter given in metadata, or what is wrong with it. */
function read(param: Shape[string], text: string): unknown {
  const { values, problems } = readParams({ it: param }, input({ metadata: { it: text } }));
  return problems.length > 0 ? problems.map(({ problem }) => problem).join('; ') : values.it;
}

describe('a parameter', () => {
  it.each<[string, Shape[string], string, unknown]>([
    ['a text is trimmed', p.text({ doc }), '  a b ', 'a b'],
    ['an integer', p.integer({ doc }), '-12', -12],
    ['no integer with a fraction', p.integer({ doc }), '1.0', '"1.0" is not a whole number'],
    ['no integer with a leading zero', p.integer({ doc }), '007', '"007" is not a whole number'],
    ['no integer with an exponent', p.integer({ doc }), '1e3', '"1e3" is not a whole number'],
    ['the largest integer', p.integer({ doc }), '9223372036854775807', 2 ** 63],
    [
      'no larger one',
      p.integer({ doc }),
      '9223372036854775808',
      '"9223372036854775808" is too large a number',
    ],
    ['a number', p.number({ doc }), '-1.5e3', -1500],
    ['no number without digits before the point', p.number({ doc }), '.5', '".5" is not a number'],
    ['no number with a plus', p.number({ doc }), '+5', '"+5" is not a number'],
    ['no infinite number', p.number({ doc }), '1e999', '"1e999" is too large a number'],
    ['a flag as Go writes it', p.flag({ doc }), 'T', true],
    ['a flag as a digit', p.flag({ doc }), '0', false],
    ['no other flag', p.flag({ doc }), 'yes', '"yes" is neither true nor false'],
    ['a duration', p.duration({ doc }), '1m30s', 90_000],
    ['a duration in milliseconds', p.duration({ doc }), '1000', 1000],
    ['no negative duration', p.duration({ doc }), '-1s', '"-1s" must not be negative'],
    ['no negative milliseconds', p.duration({ doc }), '-1', '"-1" must not be negative'],
    [
      'no duration in days',
      p.duration({ doc }),
      '1d',
      '"1d" is neither a duration such as 30s nor whole milliseconds',
    ],
    ['a list with blanks around', p.list({ doc }), 'a, b ,c', ['a', 'b', 'c']],
    ['a list with a separator of its own', p.list({ doc, separator: ';' }), 'a,b; c', ['a,b', 'c']],
    ['integers with ranges', p.integers({ doc, range: '-' }), '1 - 3, 7', [1, 2, 3, 7]],
    ['a range that ends before it begins has none', p.integers({ doc, range: '-' }), '3-1', []],
    [
      'no integers with a range without a sign for it',
      p.integers({ doc }),
      '1-3',
      '"1-3" is not a whole number',
    ],
    [
      'no endless range',
      p.integers({ doc, range: '-' }),
      '0-999999999',
      '"0-999999999" spans more than 100,000 numbers',
    ],
    ['pairs', p.map({ doc }), 'a=1, b = 2', { a: '1', b: '2' }],
    ['no pair with two signs', p.map({ doc }), 'a=1=2', '"a=1=2" needs key=value in each of its parts'],
    ['a query', p.query({ doc }), 'a=1&b=%20x&a=2', { a: ['1', '2'], b: [' x'] }],
    ['no query that is none', p.query({ doc }), 'a=%zz', '"a=%zz" is not a URL query'],
    ['a choice', p.choice(['one', 'two'], { doc }), 'two', 'two'],
    [
      'no other choice',
      p.choice(['one', 'two'], { doc }),
      'tow',
      '"tow" must be one of one, two, did you mean "two"?',
    ],
    ['a list of choices', p.list({ doc, choices: ['a', 'b'] }), 'b,a', ['b', 'a']],
    [
      'no list with a strange choice',
      p.list({ doc, choices: ['a', 'b'] }),
      'a,longer',
      '"a,longer" must be one of a, b',
    ],
    [
      'no list with two that exclude each other',
      p.list({ doc, exclusive: ['a', 'b'] }),
      'a,c,b',
      '"a,c,b" may have only one of a, b',
    ],
  ])('%s', (_title, param, text, outcome) => {
    expect(read(param, text)).toEqual(outcome);
  });

  it('of names that objects have of themselves is one like others', () => {
    expect(read(p.map({ doc }), 'constructor=1')).toEqual({ constructor: '1' });
    expect(Object.keys(read(p.query({ doc }), '__proto__=1&__proto__=2') as object)).toEqual(['__proto__']);
  });

  it('is read or refused with a sentence, whatever the text', () => {
    const kinds = [
      p.text,
      p.secret,
      p.integer,
      p.number,
      p.flag,
      p.duration,
      p.list,
      p.integers,
      p.map,
      p.query,
    ];
    fc.assert(
      fc.property(fc.constantFrom(...kinds), fc.string({ unit: 'binary' }), (kind, text) => {
        const { problems } = readParams({ it: kind({ doc, range: '-' }) }, input({ metadata: { it: text } }));

        for (const { problem } of problems)
          expect(problem).toMatch(/^(".*"|the value) (is|needs|must|spans|has)/s);
      }),
    );
  });
});

describe('the lookup', () => {
  const shape = {
    key: p.text({ doc, from: ['metadata', 'auth', 'env'], also: ['oldKey'] }),
  };

  it.each<[string, Partial<ParamInput>, string]>([
    ['takes metadata first', { metadata: { key: 'm' }, auth: { key: new Secret('a') } }, 'm'],
    ['takes auth where metadata is blank', { metadata: { key: '  ' }, auth: { key: new Secret('a') } }, 'a'],
    [
      'takes the other name before the next source',
      { metadata: { oldKey: 'o' }, auth: { key: new Secret('a') } },
      'o',
    ],
    ['follows FromEnv', { metadata: { keyFromEnv: 'VAR' }, env: { VAR: ' e ' } }, 'e'],
    ['follows FromEnv of the other name', { metadata: { oldKeyFromEnv: 'VAR' }, env: { VAR: 'e' } }, 'e'],
    [
      'takes a reference before everything',
      { metadata: { key: 'm' }, inline: { key: new Secret('i') } },
      'i',
    ],
  ])('%s', (_title, given, value) => {
    expect(readParams(shape, input(given)).values.key).toBe(value);
  });

  it('says where it looked, and which variable was not there', () => {
    const nothing = readParams(shape, input()).problems;
    const variable = readParams(shape, input({ metadata: { keyFromEnv: 'VAR' } })).problems;

    expect([...nothing, ...variable].map(formatProblem)).toEqual([
      'metadata.key: "key" is missing: looked in metadata, auth, env (keyFromEnv)',
      `metadata.key: "key" is missing: keyFromEnv names "VAR", which the target's container does not set`,
    ]);
  });

  it('complains once about everything', () => {
    const many = { a: p.integer({ doc }), b: p.flag({ doc }), c: p.text({ doc }) };

    const { problems } = readParams(many, input({ metadata: { a: 'x', b: 'y' } }));

    expect(problems.map(({ place }) => place?.field)).toEqual(['metadata.a', 'metadata.b', 'metadata.c']);
  });

  it.each<[string, Partial<ParamInput>]>([
    ['auth', { auth: { n: new Secret('hunter2') } }],
    ['the environment', { metadata: { nFromEnv: 'VAR' }, env: { VAR: 'hunter2' } }],
    ['a reference', { inline: { n: new Secret('hunter2') } }],
  ])('shows no value that comes from %s', (_title, given) => {
    const number = { n: p.integer({ doc, from: ['metadata', 'auth', 'env'] }) };

    expect(readParams(number, input(given)).problems).toMatchObject([
      { problem: 'the value is not a whole number' },
    ]);
  });

  it('gives defaults, and nothing where a parameter may be left out', () => {
    const some = {
      a: p.integer({ doc, default: '5' }),
      b: p.text({ doc, optional: true }),
      c: p.text({ doc, default: '' }),
    };

    expect(readParams(some, input())).toMatchObject({
      values: { a: 5, b: undefined, c: undefined },
      problems: [],
    });
  });

  it('lets a parameter be absent that the shape requires, where it is told to', () => {
    expect(readParams(shape, input(), { mayLack: ['key'] }).problems).toEqual([]);
  });

  it('notices unknown, deprecated and removed names', () => {
    const old = {
      queue: p.text({ doc, optional: true }),
      host: p.text({ doc, optional: true, deprecated: 'use queue instead' }),
      type: p.text({ doc, removed: 'use metricType instead' }),
    };

    const { problems, notices } = readParams(old, input({ metadata: { queeu: 'q', host: 'h', type: 't' } }));

    expect([...problems, ...notices].map(formatProblem)).toEqual([
      'metadata.type: "type" was removed: use metricType instead',
      'metadata.host: "host" is deprecated: use queue instead',
      'metadata.queeu: "queeu" is not a parameter of this trigger type and is ignored, did you mean "queue"?',
    ]);
  });
});
