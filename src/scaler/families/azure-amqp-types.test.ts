import fc from 'fast-check';
import rhea from 'rhea';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../base/errors.ts';
import { decodeMessage, encodeRequest, FrameReader } from './azure-amqp-frames.ts';
import { AmqpReader, amqp, Described, fieldOf } from './azure-amqp-types.ts';

const hex = (text: string) => new AmqpReader(Buffer.from(text.replaceAll(' ', ''), 'hex')).value();

describe('values of AMQP', () => {
  // Part 1.6 of the specification: one encoding of each width.
  it.each([
    ['null', '40', null],
    ['true in its own type', '41', true],
    ['a boolean in a byte', '56 00', false],
    ['ubyte', '50 ff', 255],
    ['ushort', '60 01 00', 256],
    ['uint of no byte', '43', 0],
    ['small uint', '52 07', 7],
    ['uint', '70 ff ff ff ff', 4_294_967_295],
    ['ulong of no byte', '44', 0n],
    ['small ulong', '53 10', 16n],
    ['ulong', '80 ff ff ff ff ff ff ff ff', 2n ** 64n - 1n],
    ['byte', '51 ff', -1],
    ['short', '61 ff fe', -2],
    ['small int', '54 fd', -3],
    ['int', '71 ff ff ff fc', -4],
    ['small long', '55 fb', -5n],
    ['long', '81 7f ff ff ff ff ff ff ff', 2n ** 63n - 1n],
    ['float', '72 3f 80 00 00', 1],
    ['double', '82 c0 04 00 00 00 00 00 00', -2.5],
    ['decimal, which is passed over', '84 00 00 00 00 00 00 00 00', null],
    ['char', '73 00 01 f3 19', '🌙'],
    ['timestamp', '83 00 00 00 00 00 00 03 e8', new Date(1000)],
    ['uuid', '98 00 11 22 33 44 55 66 77 88 99 aa bb cc dd ee ff', '00112233-4455-6677-8899-aabbccddeeff'],
    ['short binary', 'a0 02 0a 0b', Buffer.of(10, 11)],
    ['long string', 'b1 00 00 00 02 c3 bc', 'ü'],
    ['symbol', 'a3 02 68 69', 'hi'],
    ['empty list', '45', []],
    ['short list', 'c0 03 02 41 42', [true, false]],
    ['long list', 'd0 00 00 00 05 00 00 00 01 40', [null]],
    ['map', 'c1 05 02 a1 01 61 41', new Map([['a', true]])],
    ['array of strings', 'e0 06 02 a1 01 30 01 31', ['0', '1']],
    ['array of nothing', 'f0 00 00 00 05 00 00 00 00 40', []],
    ['described', '00 53 24 45', new Described(0x24n, [])],
  ])('reads %s', (_title, bytes, expected) => {
    expect(hex(bytes)).toEqual(expected);
  });

  it('is read by another library as it was written', () => {
    const bytes = encodeRequest({
      id: '7',
      replyTo: 'me',
      properties: { operation: 'READ', long: 'x'.repeat(300), expiration: 1_700_000_000_000 },
      body: amqp.list([amqp.long(-5n), amqp.ulong(2n ** 40n), amqp.boolean(true), amqp.binary(Buffer.of(1))]),
    });

    const message = rhea.message.decode(bytes);

    expect(message).toMatchObject({
      message_id: '7',
      reply_to: 'me',
      application_properties: { operation: 'READ', long: 'x'.repeat(300) },
      body: [-5, 2 ** 40, true, Buffer.of(1)],
    });
    expect(new Date(message.application_properties?.['expiration']).getTime()).toBe(1_700_000_000_000);
  });

  it('reads what another library has written', () => {
    const bytes = rhea.message.encode({
      message_id: 'a',
      correlation_id: 'b',
      application_properties: { text: 'ü', number: 12, flag: true },
      body: rhea.message.data_sections([Buffer.from('one '), Buffer.from('two')]),
    });

    const message = decodeMessage(bytes);

    expect(fieldOf(message.properties, 0)).toBe('a');
    expect(fieldOf(message.properties, 5)).toBe('b');
    expect(Object.fromEntries(message.applicationProperties)).toMatchObject({ text: 'ü', flag: true });
    expect(String(message.body)).toBe('one two');
  });

  it('refuses what is no value, and never anything worse', () => {
    const starts = fc.constantFrom('', '00', 'c0', 'd0', 'c1', 'e0', 'f0', 'f0000000ff', '0053');
    fc.assert(
      fc.property(starts, fc.uint8Array({ maxLength: 64 }), (start, rest) => {
        const bytes = Buffer.concat([Buffer.from(start, 'hex'), rest]);
        for (const read of [() => new AmqpReader(bytes).value(), () => decodeMessage(bytes)]) {
          try {
            read();
          } catch (thrown) {
            expect(thrown).toBeInstanceOf(Fault);
            expect((thrown as Fault).code).toBe('SOURCE_ANSWER_INVALID');
          }
        }
      }),
      { numRuns: 3000 },
    );
  });

  it.each([
    ['values inside each other without end', `${'c0ff01'.repeat(40)}`],
    ['millions of values in a few bytes', 'f0 00 00 00 05 ff ff ff ff 40'],
    ['half a pair', 'c1 02 01 40'],
    ['an unknown type', '9f'],
  ])('refuses %s', (_title, bytes) => {
    expect(() => hex(bytes)).toThrow(Fault);
  });
});

describe('frames', () => {
  it('are the same however their bytes arrive', () => {
    const frame = Buffer.from('0000000c 02 00 0000 00 53 17 45'.replaceAll(' ', ''), 'hex');
    const bytes = Buffer.concat([
      Buffer.from('AMQP\0\x01\0\0'),
      frame,
      Buffer.from('0000000802000000', 'hex'),
      frame,
    ]);
    const read = (size: number) => {
      const reader = new FrameReader();
      const seen: unknown[] = [];
      for (let at = 0; at < bytes.length; at += size)
        seen.push(...reader.push(bytes.subarray(at, at + size)));
      return seen;
    };

    expect(read(1)).toEqual(read(bytes.length));
    expect(read(3)).toHaveLength(4);
  });

  it.each([
    ['another protocol', 'HTTP/1.1 200 OK\r\n\r\n'],
    ['another version', 'AMQP\0\0\x09\x01'],
    ['a frame without end', 'AMQP\0\x01\0\0\x7f\xff\xff\xff\x02\0\0\0'],
    ['a frame without its head', 'AMQP\0\x01\0\0\0\0\0\x04\x02\0\0\0'],
  ])('refuse %s', (_title, text) => {
    expect(() => [...new FrameReader().push(Buffer.from(text, 'latin1'))]).toThrow(Fault);
  });
});
