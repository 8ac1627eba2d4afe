import { crc32c } from '../../base/crc32c.ts';
import { Fault } from '../../base/errors.ts';
import { uncompressed } from './kafka-compression.ts';
import { WireReader, WireWriter } from './kafka-wire.ts';

/** A message as it lies in a partition. */
export interface KafkaRecord {
  offset: number;
  /** Epoch milliseconds; -1 where none was given. */
  timestamp: number;
  key: Buffer | null;
  value: Buffer | null;
  headers: readonly KafkaHeader[];
}

export interface KafkaHeader {
  name: string;
  value: Buffer | null;
}

/** A transaction that was given up: its messages are there and do not count. */
export interface Aborted {
  producerId: number;
  firstOffset: number;
}

/** What a fetch brought of a partition. */
export interface Fetched {
  /** The messages that count, oldest first. */
  records: KafkaRecord[];
  /** The offset after the last batch that is whole; undefined where none was. */
  next: number | undefined;
}

/** The one format since Kafka 0.11. */
const magic = 2;
const batchOverhead = 12;
const [compression, logAppendTime, transactional, control] = [0x07, 0x08, 0x10, 0x20] as const;

/**
 * Reads batches of messages. The last one may be cut off, as brokers send what fits. Markers of transactions and the
 * messages of those that were given up are left out.
 *
 * @throws Fault SOURCE_ANSWER_INVALID, SOURCE_ANSWER_TOO_LARGE, NOT_SUPPORTED for a format or compression of others
 */
export function readBatches(bytes: Buffer, aborted: readonly Aborted[]): Fetched {
  const input = new WireReader(bytes);
  const transactions = new Transactions(aborted);
  const records: KafkaRecord[] = [];
  let next: number | undefined;
  while (input.left >= batchOverhead) {
    const base = input.int64();
    const length = input.int32();
    if (length > input.left) break;
    const batch = readBatch(input.slice(length), base);
    const counts = transactions.counts(batch);
    if (counts) records.push(...batch.records());
    next = batch.last + 1;
  }
  return { records, next };
}

interface Batch {
  last: number;
  producerId: number;
  isTransactional: boolean;
  isControl: boolean;
  records(): KafkaRecord[];
}

function readBatch(bytes: Buffer, base: number): Batch {
  const input = new WireReader(bytes);
  input.int32();
  const format = input.int8();
  if (format !== magic) {
    throw new Fault('NOT_SUPPORTED', `keeps messages in a format before Kafka 0.11 (${format})`);
  }
  const sum = input.int32() >>> 0;
  if (crc32c(bytes.subarray(9)) !== sum) {
    throw new Fault('SOURCE_ANSWER_INVALID', 'answered with messages that were damaged');
  }
  const attributes = input.int16();
  const last = base + input.int32();
  const [first, latest] = [input.int64(), input.int64()];
  const producerId = input.int64();
  input.skip(2 + 4);
  const count = input.int32();
  return {
    last,
    producerId,
    isTransactional: (attributes & transactional) !== 0,
    isControl: (attributes & control) !== 0,
    records() {
      const packed = input.slice(input.left);
      const each = new WireReader(uncompressed(attributes & compression, packed));
      const stamped = (attributes & logAppendTime) === 0 ? undefined : latest;
      const records: KafkaRecord[] = [];
      for (let index = 0; index < count; index += 1) records.push(readRecord(each, base, { first, stamped }));
      return records;
    },
  };
}

function readRecord(
  input: WireReader,
  base: number,
  { first, stamped }: { first: number; stamped: number | undefined },
): KafkaRecord {
  const record = new WireReader(input.slice(input.varint()));
  record.int8();
  const timestamp = stamped ?? first + record.varint();
  if (stamped !== undefined) record.varint();
  const offset = base + record.varint();
  const key = record.varbytes();
  const value = record.varbytes();
  const headers: KafkaHeader[] = [];
  for (let left = record.varint(); left > 0; left -= 1) {
    headers.push({ name: (record.varbytes() ?? Buffer.alloc(0)).toString('utf8'), value: record.varbytes() });
  }
  return { offset, timestamp, key, value, headers };
}

/** Knows which batches belong to transactions that were given up. */
class Transactions {
  readonly #coming: Aborted[];
  readonly #current = new Set<number>();

  constructor(aborted: readonly Aborted[]) {
    this.#coming = [...aborted].sort((a, b) => b.firstOffset - a.firstOffset);
  }

  counts({ last, producerId, isTransactional, isControl, records }: Batch): boolean {
    for (
      let next = this.#coming.at(-1);
      next !== undefined && next.firstOffset <= last;
      next = this.#coming.at(-1)
    ) {
      this.#coming.pop();
      this.#current.add(next.producerId);
    }
    if (!isControl) return !(isTransactional && this.#current.has(producerId));
    const key = records()[0]?.key;
    // A version and the kind of marker, 0 for one of a transaction that was given up.
    const isAbort = key?.length === 4 && key.readInt16BE(2) === 0;
    if (isAbort) this.#current.delete(producerId);
    return false;
  }
}

/** One message as a batch of its own, to be sent. */
export function writeBatch(
  { key, value, headers }: Pick<KafkaRecord, 'key' | 'value' | 'headers'>,
  now: number,
): Buffer {
  const record = new WireWriter().int8(0).varint(0).varint(0).varbytes(key).varbytes(value);
  record.varint(headers.length);
  for (const header of headers) record.varbytes(Buffer.from(header.name)).varbytes(header.value);
  const body = record.bytesSoFar();
  const noProducer = -1;
  const summed = new WireWriter()
    .int16(0)
    .int32(0)
    .int64(now)
    .int64(now)
    .int64(noProducer)
    .int16(noProducer)
    .int32(noProducer)
    .int32(1)
    .varint(body.length)
    .raw(body)
    .bytesSoFar();
  const sum = crc32c(summed) | 0;
  return new WireWriter()
    .int64(0)
    .int32(4 + 1 + 4 + summed.length)
    .int32(-1)
    .int8(magic)
    .int32(sum)
    .raw(summed)
    .bytesSoFar();
}
