import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lineSplitter, watchEventOf } from './watch-stream.ts';

describe('the lines of a watch', () => {
  it('are the same wherever the bytes are cut, in the middle of characters too', () => {
    const line = fc.string({ unit: 'grapheme', minLength: 1 }).map(text => text.replaceAll('\n', ' '));
    fc.assert(
      fc.property(fc.array(line), fc.array(fc.nat({ max: 200 })), (lines, cuts) => {
        const bytes = Buffer.from(lines.map(text => `${text}\n`).join(''));
        const edges = [0, ...cuts.filter(cut => cut < bytes.length), bytes.length].sort((a, b) => a - b);
        const splitter = lineSplitter();

        const found = edges
          .slice(1)
          .flatMap((edge, index) => splitter.push(bytes.subarray(edges[index], edge)));

        expect(found).toEqual(lines);
      }),
    );
  });

  it('may be megabytes long', () => {
    const splitter = lineSplitter();
    const half = Buffer.alloc(3_000_000, 'x');

    const lines = [half, half, Buffer.from('\ny\n')].flatMap(chunk => splitter.push(chunk));

    expect(lines.map(text => text.length)).toEqual([6_000_000, 1]);
  });

  it('must end', () => {
    const splitter = lineSplitter();
    const chunk = Buffer.alloc(32 * 1024 * 1024, 'x');
    const endless = () => {
      for (let count = 0; count < 3; count += 1) splitter.push(chunk);
    };

    expect(endless).toThrow(expect.objectContaining({ code: 'KUBE_FAILED' }));
  });
});

describe('an event of a watch', () => {
  const pod = { metadata: { name: 'a', uid: '1', resourceVersion: '7' } };

  it.each([
    ['something new', { type: 'ADDED', object: pod }, { type: 'ADDED', object: pod }],
    ['a bookmark', { type: 'BOOKMARK', object: pod }, { type: 'BOOKMARK', resourceVersion: '7' }],
    ['a kind of event that is not known', { type: 'RENAMED', object: pod }, undefined],
  ])('can be %s', (_title, sent, understood) => {
    expect(watchEventOf(JSON.stringify(sent), 'watch Pod')).toEqual(understood);
  });

  it.each([
    [
      'an expired version',
      '{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}',
      'KUBE_EXPIRED',
      'cannot watch Pod: too old',
    ],
    [
      'another error',
      '{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd is away"}}',
      'KUBE_FAILED',
      'cannot watch Pod: etcd is away',
    ],
    [
      'an error that says nothing',
      '{"type":"ERROR","object":{}}',
      'KUBE_FAILED',
      'cannot watch Pod: the API server answered 500',
    ],
    [
      'a line that is cut',
      '{"type":"ADDED","obj',
      'KUBE_FAILED',
      'cannot watch Pod: the API server sent a line that is no event',
    ],
    [
      'an object without metadata',
      '{"type":"ADDED","object":{}}',
      'KUBE_FAILED',
      'cannot watch Pod: the API server sent a line that is no event',
    ],
  ])('that is %s is a fault', (_title, line, code, message) => {
    expect(() => watchEventOf(line, 'watch Pod')).toThrow(expect.objectContaining({ code, message }));
  });
});
