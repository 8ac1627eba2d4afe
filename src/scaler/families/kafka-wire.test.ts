import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../base/errors.ts';
import {
  commitCall,
  committedCall,
  createTopicCall,
  edgeCall,
  fetchCall,
  produceCall,
} from './kafka-delivery-messages.ts';
import {
  apiVersionsCall,
  type Call,
  consumerGroupDescribeCall,
  describeGroupsCall,
  endOffsetsCall,
  offsetFetchCall,
  offsetFetchManyCall,
  saslAuthenticateCall,
  saslHandshakeCall,
} from './kafka-messages.ts';
import {
  findCoordinatorCall,
  findCoordinatorsCall,
  identifiedMetadataCall,
  metadataCall,
} from './kafka-metadata-messages.ts';
import { WireReader, WireWriter } from './kafka-wire.ts';

const readerOf = (out: WireWriter) => new WireReader(out.frame().subarray(4));

describe('the wire', () => {
  it('reads what was written', () => {
    fc.assert(
      fc.property(
        fc.maxSafeInteger(),
        fc.integer({ min: 0, max: 2 ** 31 - 1 }),
        fc.string({ unit: 'binary', maxLength: 300 }),
        fc.array(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), { maxLength: 300 }),
        (long, length, text, numbers) => {
          const out = new WireWriter();
          out.int64(long).uvarint(length).string(text).compactString(text).string(null);
          out
            .array(numbers, each => out.int32(each))
            .compactArray(numbers, each => out.int32(each))
            .tags();

          const read = readerOf(out);

          const plain = Buffer.from(text).toString();
          expect([read.int64(), read.uvarint()]).toEqual([long, length]);
          expect([read.string(), read.compactString(), read.string()]).toEqual([plain, plain, null]);
          expect(read.array(() => read.int32())).toEqual(numbers);
          expect(read.compactArray(() => read.int32())).toEqual(numbers);
          read.tags();
          expect(read.left).toBe(0);
        },
      ),
    );
  });

  it.each([
    [
      'a number that JavaScript cannot hold',
      Buffer.from('7fffffffffffffff', 'hex'),
      (r: WireReader) => r.int64(),
    ],
    ['a text beyond the end', Buffer.from('0005616263', 'hex'), (r: WireReader) => r.string()],
    ['a list beyond the end', Buffer.from('7fffffff00', 'hex'), (r: WireReader) => r.array(() => r.int8())],
    ['a length that never ends', Buffer.alloc(8, 0xff), (r: WireReader) => r.uvarint()],
    ['a number that is cut off', Buffer.from('0001', 'hex'), (r: WireReader) => r.int32()],
    ['a number that is too large', Buffer.from('7fffffffffffffff', 'hex'), (r: WireReader) => r.int64()],
    ['tagged fields beyond the end', Buffer.from('0100ff7f', 'hex'), (r: WireReader) => r.tags()],
  ])('does not believe %s', (_title, bytes, read) => {
    expect(() => read(new WireReader(bytes))).toThrow(
      expect.objectContaining({ code: 'SOURCE_ANSWER_INVALID' }),
    );
  });

  it('reads numbers below zero', () => {
    expect(readerOf(new WireWriter().int64(-1)).int64()).toBe(-1);
  });
});

const calls: Call<unknown>[] = [
  apiVersionsCall(),
  saslHandshakeCall('PLAIN'),
  saslAuthenticateCall(Buffer.alloc(0), 0),
  saslAuthenticateCall(Buffer.alloc(0), 1),
  metadataCall(['t']),
  identifiedMetadataCall(['t']),
  findCoordinatorCall('g'),
  findCoordinatorsCall(['g']),
  offsetFetchCall({ group: 'g', wanted: null }),
  offsetFetchManyCall([{ group: 'g', wanted: new Map([['t', [0]]]) }]),
  endOffsetsCall(new Map([['t', [0]]])),
  describeGroupsCall(['g']),
  consumerGroupDescribeCall(['g']),
  committedCall('g', new Map([['t', [0]]])),
  commitCall('g', [{ topic: 't', partition: 0, offset: 0, text: '' }]),
  fetchCall([{ topic: 't', partition: 0, offset: 0 }], { mostBytes: 1, mostPartitionBytes: 1 }),
  edgeCall({ topic: 't', partition: 0 }, 'latest'),
  produceCall({ topic: 't', partition: 0 }, Buffer.alloc(0)),
  createTopicCall('t'),
];

describe('an answer of a broker', () => {
  it.each(calls.map(call => [`${call.name} ${call.api} v${call.version}`, call] as const))(
    'about %s is read, or refused with a Fault, whatever it holds',
    (_title, call) => {
      // Small numbers make it likelier that lengths fit and the reading goes deep.
      const byte = fc.oneof({ weight: 3, arbitrary: fc.constantFrom(0, 0, 0, 1, 2, 3) }, fc.nat(255));
      fc.assert(
        fc.property(fc.array(byte, { maxLength: 400 }), bytes => {
          try {
            call.read(new WireReader(Buffer.from(bytes)));
          } catch (thrown) {
            expect(thrown).toBeInstanceOf(Fault);
          }
        }),
        { numRuns: 2000 },
      );
    },
  );
});
