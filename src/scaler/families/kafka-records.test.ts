import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../base/errors.ts';
import { uncompressed } from './kafka-compression.ts';
import { readBatches, writeBatch } from './kafka-records.ts';

const [gzip, snappy, lz4, zstd] = [1, 2, 3, 4] as const;

describe('a batch of messages', () => {
  it('is read as it was written', () => {
    const bytes = fc.uint8Array({ maxLength: 200 }).map(each => Buffer.from(each));
    const nullable = fc.option(bytes);
    const headers = fc.array(fc.record({ name: fc.string(), value: nullable }), { maxLength: 4 });
    fc.assert(
      fc.property(nullable, nullable, headers, fc.nat(2 ** 41), (key, value, sent, now) => {
        const { records, next } = readBatches(writeBatch({ key, value, headers: sent }, now), []);

        expect(records).toEqual([{ offset: 0, timestamp: now, key, value, headers: sent }]);
        expect(next).toBe(1);
      }),
    );
  });

  it('may be cut off, and then is not there yet', () => {
    const one = writeBatch({ key: null, value: Buffer.from('one'), headers: [] }, 0);

    const { records, next } = readBatches(Buffer.concat([one, one.subarray(0, one.length - 1)]), []);

    expect([records.length, next]).toEqual([1, 1]);
    expect(readBatches(one.subarray(0, 20), [])).toEqual({ records: [], next: undefined });
  });

  it('is not believed when it was damaged', () => {
    const damaged = writeBatch({ key: null, value: Buffer.from('one'), headers: [] }, 0);
    damaged[damaged.length - 2] = 0;

    expect(() => readBatches(damaged, [])).toThrow(/damaged/);
  });

  it('of a format before Kafka 0.11 is refused by name', () => {
    const old = writeBatch({ key: null, value: Buffer.from('one'), headers: [] }, 0);
    old[16] = 1;

    expect(() => readBatches(old, [])).toThrow(expect.objectContaining({ code: 'NOT_SUPPORTED' }));
  });

  it('is read, or refused with a Fault, whatever it holds', () => {
    const byte = fc.oneof({ weight: 3, arbitrary: fc.constantFrom(0, 0, 0, 1, 2) }, fc.nat(255));
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 300 }), bytes => {
        expectFaultAtMost(() => readBatches(Buffer.from(bytes), []));
      }),
      { numRuns: 3000 },
    );
  });
});

describe('compression', () => {
  // A literal and a copy that overlaps itself; test/delivery-kafka.test.ts reads what real producers make.
  it.each([
    ['none', 0, Buffer.from('plain').toString('hex'), 'plain'],
    ['gzip', gzip, gzipSync('text').toString('hex'), 'text'],
    ['snappy', snappy, '0a086162630d03', 'abcabcabca'],
    ['lz4', lz4, '04224d18604082070000003361626303000000000000', 'abcabcabca'],
  ])('by %s is undone', (_title, codec, bytes, text) => {
    expect(uncompressed(codec, Buffer.from(bytes, 'hex')).toString()).toBe(text);
  });

  it.each([
    ['gzip', gzip],
    ['snappy', snappy],
    ['lz4', lz4],
    ['zstd', zstd],
    ['nobody knows what', 7],
  ])('by %s is undone, or refused with a Fault, whatever it holds', (_title, codec) => {
    const magic = codec === lz4 ? [0x04, 0x22, 0x4d, 0x18] : [];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
        expectFaultAtMost(() => uncompressed(codec, Buffer.from([...magic, ...bytes])));
      }),
      { numRuns: 3000 },
    );
  });

  it('that unfolds without end is stopped', () => {
    const bomb = gzipSync(Buffer.alloc(200 * 1024 * 1024));

    expect(() => uncompressed(gzip, bomb)).toThrow(
      expect.objectContaining({ code: 'SOURCE_ANSWER_TOO_LARGE' }),
    );
  });
});

function expectFaultAtMost(work: () => unknown): void {
  try {
    work();
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(Fault);
  }
}
