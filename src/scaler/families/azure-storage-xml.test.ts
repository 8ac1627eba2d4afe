import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../base/errors.ts';
import { childrenOf, encodeText, parseStorageXml, textOf } from './azure-storage-xml.ts';

const parse = (text: string, root = 'R') => parseStorageXml(Buffer.from(text), root, 'mine/orders');

describe('an answer of Azure Storage', () => {
  it('gives back every text that was escaped', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 200 }), text => {
        const element = parse(`<?xml version="1.0"?><R><T>${encodeText(text)}</T></R>`);

        expect(textOf(element, 'T')).toBe(text);
      }),
    );
  });

  it('is understood or refused with a fault, whatever it is', () => {
    const pieces = fc.constantFrom(
      '<R>',
      '</R>',
      '<R/>',
      '<T',
      '</',
      '>',
      '<!--',
      '-->',
      '<![CDATA[',
      ']]>',
      '<?',
      '&',
      'x',
      '"',
    );
    const texts = fc.oneof(
      fc.string(),
      fc.array(pieces, { maxLength: 12 }).map(parts => parts.join('')),
    );
    fc.assert(
      fc.property(texts, text => {
        try {
          childrenOf(parse(`${text}</R>`), 'T');
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(Fault);
          expect(thrown).toMatchObject({ code: 'SOURCE_ANSWER_INVALID' });
        }
      }),
    );
  });

  it.each([
    ['cut off', '<R><T>1</T>'],
    ['of another kind', '<Q><T>1</T></Q>'],
    ['empty', ''],
    ['a page of HTML', '<!DOCTYPE html><html></html>'],
    ['with entities of its own', '<!DOCTYPE R [<!ENTITY a "b">]><R><T>&a;</T></R>'],
    ['nested without end', `${'<a>'.repeat(1_000)}</R>`],
  ])('is refused where it is %s', (_title, text) => {
    expect(() => parse(text)).toThrow(Fault);
  });

  it.each([
    ['<R><T>&lt;&gt;&amp;&quot;&apos;&#65;&#x1F319;</T></R>', '<>&"\'A🌙'],
    ['<R><T>&amp;lt;</T></R>', '&lt;'],
    ['<R><T>&other; &#xFFFFFF; &</T></R>', '&other; &#xFFFFFF; &'],
    ['<R><T>  007  </T></R>', '  007  '],
    ['<R><T/></R>', ''],
    ['<R><T>first</T><T>second</T></R>', 'first'],
    ['\uFEFF<R a="b"><T c="d">x</T></R>\n', 'x'],
    ['<R/>', undefined],
    ['<R>T</R>', undefined],
    ['<R><U>x</U></R>', undefined],
  ])('%j has the text %j', (text, expected) => {
    expect(textOf(parse(text), 'T')).toBe(expected);
  });

  it('has no children that nobody sent', () => {
    expect(childrenOf(parse('<R><T>x</T></R>'), 'constructor')).toEqual([]);
    expect(childrenOf(parse('<R><T>x</T></R>'), '__proto__')).toEqual([]);
  });
});
