import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../base/errors.ts';
import {
  encodeContent,
  encodeFrame,
  encodeMethod,
  type Frame,
  FrameReader,
  frameMax,
  methods,
  numberIn,
  type Properties,
  Reader,
  readContentHeader,
  readTable,
  tableFlags,
  tableNumber,
  tableText,
  Writer,
} from './rabbitmq-wire.ts';

const framesIn = (chunks: readonly Buffer[]): Frame[] => {
  const reader = new FrameReader();
  return chunks.flatMap(chunk => [...reader.push(chunk)]);
};

/** What comes of work on foreign bytes: an answer or a Fault, and nothing else. */
function outcome(work: () => unknown): string {
  try {
    work();
    return 'read';
  } catch (thrown) {
    if (thrown instanceof Fault) return thrown.code;
    throw thrown;
  }
}

describe('frames', () => {
  it('come out whole wherever the stream was cut', () => {
    const payloads = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 });
    const cuts = fc.array(fc.nat(2000), { maxLength: 10 });
    fc.assert(
      fc.property(payloads, cuts, (bodies, places) => {
        const stream = Buffer.concat(bodies.map((body, index) => encodeFrame(3, index + 1, body)));
        const ends = [
          ...places.map(place => place % (stream.length + 1)).sort((a, b) => a - b),
          stream.length,
        ];

        const frames = framesIn(ends.map((end, index) => stream.subarray(ends[index - 1] ?? 0, end)));

        expect(frames.map(({ channel }) => channel)).toEqual(bodies.map((_, index) => index + 1));
        expect(frames.map(({ payload }) => [...payload])).toEqual(bodies.map(body => [...body]));
      }),
    );
  });

  it.each([
    ['an HTTP server', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), 'SOURCE_ANSWER_INVALID'],
    [
      'the answer to a version it does not speak',
      Buffer.from('AMQP\x00\x00\x09\x01', 'latin1'),
      'SOURCE_ANSWER_INVALID',
    ],
    ['a TLS alert', Buffer.from([0x15, 3, 3, 0, 2, 2, 10]), 'SOURCE_ANSWER_INVALID'],
    ['a frame without an end', Buffer.from([1, 0, 0, 0, 0, 0, 1, 5, 5]), 'SOURCE_ANSWER_INVALID'],
    ['a frame beyond all measure', Buffer.from([1, 0, 0, 0xff, 0xff, 0xff, 0xff]), 'SOURCE_ANSWER_TOO_LARGE'],
  ])('are not taken from %s', (_title, bytes, code) => {
    expect(outcome(() => framesIn([bytes]))).toBe(code);
  });

  it('are never anything but frames or a fault, whatever bytes come', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
        outcome(() => framesIn([Buffer.from(bytes)]));
        outcome(() => readTable(Buffer.from(bytes)));
        outcome(() => readContentHeader(Buffer.from(bytes)));
      }),
      { numRuns: 2000 },
    );
  });
});

describe('messages', () => {
  const text = fc.string({ maxLength: 60 });
  const anyProperties = fc.record(
    {
      contentType: text,
      deliveryMode: fc.constantFrom(1, 2),
      priority: fc.nat(255),
      correlationId: text,
      expiration: text,
      messageId: text,
      timestamp: fc.nat(),
      userId: text,
      headers: fc
        .dictionary(text, text)
        .map(all => new Map(Object.entries(all).map(([k, v]) => [k, tableText(v)]))),
    },
    { requiredKeys: [] },
  );

  it('keep their properties and body on the way', () => {
    fc.assert(
      fc.property(anyProperties, fc.uint8Array({ maxLength: 500 }), (properties, body) => {
        const [header, ...bodies] = framesIn(encodeContent(7, properties as Properties, body));

        const read = readContentHeader(header?.payload ?? Buffer.alloc(0));

        expect(read).toEqual({ bodySize: body.length, properties });
        expect([...Buffer.concat(bodies.map(({ payload }) => payload))]).toEqual([...body]);
      }),
    );
  });

  it('are cut into frames that a broker takes', () => {
    const frames = encodeContent(1, {}, new Uint8Array(3 * frameMax));

    expect(Math.max(...frames.map(({ length }) => length))).toBe(frameMax);
    expect(framesIn(frames)).toHaveLength(frames.length);
  });

  it('keep headers of every type as they came', () => {
    const values = [
      't\x01',
      'b\xff',
      'B\xff',
      's\xff\xfe',
      'u\xff\xfe',
      'I\xff\xff\xff\xfe',
      'i\xff\xff\xff\xfe',
      'l\x00\x00\x00\x00\x00\x00\x00\x05',
      'd\x00\x00\x00\x00\x00\x00\x00\x00',
      'D\x02\x00\x00\x00\x01',
      'T\x00\x00\x00\x00\x00\x00\x00\x05',
      'V',
      'S\x00\x00\x00\x02hi',
      'x\x00\x00\x00\x01\x00',
      'A\x00\x00\x00\x00',
      'F\x00\x00\x00\x00',
    ].map((value, index) => [`header-${index}`, Buffer.from(value, 'latin1')] as const);
    const writer = new Writer();
    writer.table(values);

    const read = readTable(new Reader(writer.bytes()).long());

    expect([...read]).toEqual(values);
    expect(values.map(([, value]) => numberIn(value))).toEqual([
      undefined,
      -1,
      255,
      -2,
      65534,
      -2,
      4294967294,
      5,
      ...Array.from({ length: 8 }, () => undefined),
    ]);
    expect(outcome(() => readTable(Buffer.from('\x01aq', 'latin1')))).toBe('SOURCE_ANSWER_INVALID');
  });

  it('have numbers and flags as a broker reads them', () => {
    expect(tableNumber(5)).toEqual(Buffer.from('I\x00\x00\x00\x05', 'latin1'));
    expect(tableFlags(['a'])).toEqual(Buffer.from('F\x00\x00\x00\x04\x01at\x01', 'latin1'));
  });

  it('refuse names that AMQP has no room for', () => {
    const declare = () => encodeMethod(1, methods.queueDeclare, writer => writer.short('x'.repeat(256)));

    expect(outcome(declare)).toBe('PARAM_INVALID');
  });
});
