import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../base/errors.ts';
import { gjsonGet, type JsonValue } from './gjson.ts';
import { goFloat, textOf } from './gjson-scan.ts';

/** In the form of the vectors. */
function shown(value: JsonValue | undefined): unknown[] {
  if (value === undefined) return ['none'];
  switch (value.kind) {
    case 'number':
      return ['number', goFloat(value.raw)];
    case 'string':
      return ['string', textOf(value)];
    case 'json':
      return ['json', value.raw];
    default:
      return [{ null: 'Null', true: 'True', false: 'False' }[value.kind]];
  }
}

const people = JSON.stringify({
  name: { first: 'Tom', last: 'Anderson' },
  age: 37,
  children: ['Sara', 'Alex', 'Jack'],
  'fav.movie': 'Deer Hunter',
  friends: [
    { first: 'Dale', last: 'Murphy', age: 44, nets: ['ig', 'fb', 'tw'] },
    { first: 'Roger', last: 'Craig', age: 68, nets: ['fb', 'tw'] },
    { first: 'Jane', last: 'Murphy', age: 47, nets: ['ig', 'tw'] },
  ],
});

describe('gjson', () => {
  it('is followed in hundreds of texts and paths', () => {
    const lines = readFileSync(new URL('gjson-vectors.jsonl', import.meta.url), 'utf8')
      .trim()
      .split('\n');
    for (const line of lines) {
      const [path, text, wanted] = JSON.parse(line) as [string, string, unknown[]];

      const found = shown(gjsonGet(text, path));

      expect({ path, text, found }).toEqual({ path, text, found: wanted });
    }
    expect(lines.length).toBeGreaterThan(400);
  });

  it.each([
    ['name.last', ['string', 'Anderson']],
    ['age', ['number', 37]],
    ['children.#', ['number', 3]],
    ['child*.2', ['string', 'Jack']],
    ['c?ildren.0', ['string', 'Sara']],
    ['fav\\.movie', ['string', 'Deer Hunter']],
    ['friends.#.age', ['json', '[44,68,47]']],
    ['friends.#(last=="Murphy").first', ['string', 'Dale']],
    ['friends.#(last=="Murphy")#.first', ['json', '["Dale","Jane"]']],
    ['friends.#(age>45)#.last', ['json', '["Craig","Murphy"]']],
    ['friends.#(first%"D*").last', ['string', 'Murphy']],
    ['friends.#(nets.#(=="fb"))#.first', ['json', '["Dale","Roger"]']],
    ['friends.#(last="Murphy")#|#', ['number', 2]],
    ['children.@reverse.0', ['string', 'Jack']],
    ['{name.first,"n":age}', ['json', '{"first":"Tom","n":37}']],
    ['[age,!5]|1', ['number', 5]],
    ['friends.#.age|@reverse|0', ['number', 47]],
    ['nothing', ['none']],
  ])('finds %s', (path, wanted) => {
    expect(shown(gjsonGet(people, path))).toEqual(wanted);
  });

  it('reads lines of JSON', () => {
    expect(shown(gjsonGet('{"a":1}\n{"a":2}\n', '..1.a'))).toEqual(['number', 2]);
    expect(shown(gjsonGet('{"a":1}\n{"a":2}\n', '..#'))).toEqual(['number', 2]);
  });

  it('gives up on a path that makes the text grow without end', () => {
    const path = Array.from({ length: 60 }, () => '[@this,@this]').join('|');

    expect(() => gjsonGet('[1,2,3]', path)).toThrow(Fault);
    expect(() => gjsonGet('"\\"', Array.from({ length: 60 }, () => '@tostr').join('|'))).toThrow(Fault);
  });

  it('survives any depth', () => {
    const deep = '['.repeat(200_000);

    for (const path of ['@flatten:{"deep":true}', '@dig:x', '0.0.0.0', '#.#.#']) {
      expect(() => shown(gjsonGet(deep, path))).not.toThrow(TypeError);
    }
  });

  it('throws nothing but faults, whatever text and path', () => {
    const pieces = fc.constantFrom(
      ...['{', '}', '[', ']', '"', ':', ',', '\\', '#', '(', ')', '.', '|', '@reverse', '@flatten', '*', '?'],
      ...['~', '!', '=', '<', '>', '%', 'a', '1', ' ', 'null', 'é', '😀', '\\u00', '"a":', '@join', '@group'],
    );
    const anything = fc.oneof(
      fc.array(pieces, { maxLength: 30 }).map(parts => parts.join('')),
      fc.string({ unit: 'binary', maxLength: 30 }),
      fc.json(),
    );
    fc.assert(
      fc.property(anything, anything, (text, path) => {
        try {
          shown(gjsonGet(text, path));
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(Fault);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
