import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../base/errors.ts';
import { readDetail, readEntity, readPage } from './azure-bus-entities.ts';

const entry = (title: string, active: string) =>
  `<entry xmlns="http://www.w3.org/2005/Atom">${title}<content type="application/xml"><QueueDescription xmlns="x"><RequiresSession>true</RequiresSession><CountDetails xmlns:d3p1="y"><d3p1:ActiveMessageCount>${active}</d3p1:ActiveMessageCount></CountDetails></QueueDescription></content></entry>`;

const read = (text: string) => readEntity(Buffer.from(text), 'mine/orders');

describe('descriptions', () => {
  it.each([
    ['a title with its type', '<title type="text">a &amp; b</title>', 'a & b'],
    ['a title without', '<title>orders</title>', 'orders'],
  ])('reads %s', (_what, title, name) => {
    expect(read(entry(title, ' 7 '))).toEqual({ name, active: 7, sessions: true });
  });

  it.each([
    ['nothing', ''],
    ['half of it', entry('<title>orders</title>', '7').slice(0, -9)],
    ['a page for people', '<html><body>Sign in</body></html>'],
    ['entities of its own', `<!DOCTYPE x [<!ENTITY a "b">]>${entry('<title>&a;</title>', '7')}`],
    ['no title', entry('', '7')],
    ['something else', '<entry><title>orders</title><content><TopicDescription/></content></entry>'],
  ])('does not take %s for one', (_what, text) => {
    expect(() => read(text)).toThrow(expect.objectContaining({ code: 'SOURCE_ANSWER_INVALID' }));
  });

  it('tells a list with nothing in it from one that does not exist', () => {
    const feed = (title: string) => Buffer.from(`<feed><title type="text">${title}</title></feed>`);

    expect(readPage(feed('Subscriptions'), 'mine')).toEqual({ entities: [], more: false });
    expect(readPage(feed('Publicly Listed Services'), 'mine')).toBeUndefined();
  });

  it('comes to an end with any bytes at all, and to nothing but a fault', () => {
    const piece = fc.constantFrom(
      '<feed>',
      '</feed>',
      '<entry>',
      '</entry>',
      '<title>',
      '&#x',
      '<![CDATA[',
      '7',
      '\u0000',
      '"',
    );
    const texts = fc.oneof(
      fc.string(),
      fc.array(piece, { maxLength: 30 }).map(parts => parts.join('')),
    );

    fc.assert(
      fc.property(texts, text => {
        for (const reading of [read, (each: string) => readPage(Buffer.from(each), 'mine')]) {
          try {
            reading(text);
          } catch (thrown) {
            expect(thrown).toBeInstanceOf(Fault);
          }
        }
        expect(readDetail(Buffer.from(text)).length).toBeLessThanOrEqual(300);
      }),
    );
  });
});
