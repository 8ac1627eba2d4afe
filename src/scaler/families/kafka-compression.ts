import * as zlib from 'node:zlib';
import { Fault } from '../../base/errors.ts';

/** No batch of messages is larger, unless somebody means ill. */
const mostBytes = 128 * 1024 * 1024;

const broken = (how: string) =>
  new Fault('SOURCE_ANSWER_INVALID', `answered with messages whose ${how} compression is broken`);

const codecs: Readonly<Record<number, (bytes: Buffer) => Buffer>> = {
  0: bytes => bytes,
  1: gunzip,
  2: unsnappy,
  3: unlz4,
  4: unzstd,
};

/**
 * A batch of messages as it was before the producer compressed it.
 *
 * @param codec as in the batch's attributes: none, gzip, snappy, lz4, zstd
 * @throws Fault SOURCE_ANSWER_INVALID, SOURCE_ANSWER_TOO_LARGE, or NOT_SUPPORTED for zstd before Node 22.15
 */
export function uncompressed(codec: number, bytes: Buffer): Buffer {
  const decode = codecs[codec];
  if (decode === undefined) throw new Fault('NOT_SUPPORTED', `compression ${codec} of Kafka is not known`);
  return decode(bytes);
}

function gunzip(bytes: Buffer): Buffer {
  try {
    return zlib.gunzipSync(bytes, { maxOutputLength: mostBytes });
  } catch (thrown) {
    throw zlibFault(thrown, 'gzip');
  }
}

/** Node has it since 22.15. */
const { zstdDecompressSync } = zlib as {
  zstdDecompressSync?: (bytes: Buffer, options: { maxOutputLength: number }) => Buffer;
};

function unzstd(bytes: Buffer): Buffer {
  if (zstdDecompressSync === undefined) {
    throw new Fault(
      'NOT_SUPPORTED',
      'messages compressed with zstd can be read with Node 22.15 or later only',
    );
  }
  try {
    return zstdDecompressSync(bytes, { maxOutputLength: mostBytes });
  } catch (thrown) {
    throw zlibFault(thrown, 'zstd');
  }
}

function zlibFault(thrown: unknown, how: string): Fault {
  return (thrown as { code?: string }).code === 'ERR_BUFFER_TOO_LARGE' ? tooLarge() : broken(how);
}

const tooLarge = () =>
  new Fault('SOURCE_ANSWER_TOO_LARGE', `answered with messages of more than ${mostBytes} bytes`);

/** What comes out of a decoder that copies from what has come out already. */
class Output {
  #buffer = Buffer.alloc(0);
  #length = 0;
  readonly #how: string;

  constructor(how: string) {
    this.#how = how;
  }

  append(bytes: Buffer): void {
    this.#reserve(bytes.length);
    bytes.copy(this.#buffer, this.#length);
    this.#length += bytes.length;
  }

  /** Repeats what stands `distance` back, which may overlap what is being written. */
  repeat(distance: number, length: number): void {
    if (distance < 1 || distance > this.#length) throw broken(this.#how);
    this.#reserve(length);
    for (let left = length; left > 0; left -= 1) {
      this.#buffer[this.#length] = this.#buffer[this.#length - distance] ?? 0;
      this.#length += 1;
    }
  }

  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #reserve(more: number): void {
    const needed = this.#length + more;
    if (needed > mostBytes) throw tooLarge();
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.alloc(Math.max(needed, this.#buffer.length * 2, 1024));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}

/** Input that complains instead of ending. */
class Input {
  readonly #bytes: Buffer;
  readonly #how: string;
  at = 0;

  constructor(bytes: Buffer, how: string) {
    this.#bytes = bytes;
    this.#how = how;
  }

  get left(): number {
    return this.#bytes.length - this.at;
  }

  byte(): number {
    return this.take(1)[0] ?? 0;
  }

  /** Little-endian. */
  number(length: number): number {
    return this.take(length).readUIntLE(0, length);
  }

  take(length: number): Buffer {
    if (length > this.left) throw broken(this.#how);
    this.at += length;
    return this.#bytes.subarray(this.at - length, this.at);
  }
}

/** What Java's snappy puts in front of its blocks. */
const xerial = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0]);

/** @see https://github.com/google/snappy/blob/main/format_description.txt */
function unsnappy(bytes: Buffer): Buffer {
  const out = new Output('snappy');
  if (!bytes.subarray(0, xerial.length).equals(xerial)) {
    snappyBlock(bytes, out);
    return out.bytes();
  }
  const input = new Input(bytes, 'snappy');
  input.take(16);
  while (input.left > 0) snappyBlock(input.take(input.take(4).readUInt32BE(0)), out);
  return out.bytes();
}

function snappyBlock(bytes: Buffer, whole: Output): void {
  const input = new Input(bytes, 'snappy');
  const out = new Output('snappy');
  let length = 0;
  for (let shift = 0, byte = 0x80; byte >= 0x80; shift += 7) {
    if (shift > 28) throw broken('snappy');
    byte = input.byte();
    length += (byte & 0x7f) * 2 ** shift;
  }
  while (input.left > 0) {
    const tag = input.byte();
    const size = tag >>> 2;
    switch (tag & 3) {
      case 0:
        out.append(input.take(size < 60 ? size + 1 : input.number(size - 59) + 1));
        break;
      case 1:
        out.repeat(((tag >>> 5) << 8) | input.byte(), (size & 7) + 4);
        break;
      case 2:
        out.repeat(input.number(2), size + 1);
        break;
      default:
        out.repeat(input.number(4), size + 1);
    }
  }
  if (out.bytes().length !== length) throw broken('snappy');
  whole.append(out.bytes());
}

const lz4Magic = 0x184d2204;

/** @see https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md */
function unlz4(bytes: Buffer): Buffer {
  const input = new Input(bytes, 'lz4');
  const out = new Output('lz4');
  if (input.number(4) !== lz4Magic) throw broken('lz4');
  const flags = input.byte();
  input.byte();
  const [hasSize, hasBlockSums, hasDictionary] = [flags & 0x08, flags & 0x10, flags & 0x01];
  input.take((hasSize ? 8 : 0) + (hasDictionary ? 4 : 0) + 1);
  for (let size = input.number(4); size !== 0; size = input.number(4)) {
    const block = input.take(size & 0x7fffffff);
    if (size >>> 31 === 1) out.append(block);
    else lz4Block(block, out);
    if (hasBlockSums) input.take(4);
  }
  return out.bytes();
}

function lz4Block(bytes: Buffer, out: Output): void {
  const input = new Input(bytes, 'lz4');
  const extended = (size: number) => {
    let total = size;
    for (let more = size === 15 ? 255 : 0; more === 255; ) {
      more = input.byte();
      total += more;
    }
    return total;
  };
  while (input.left > 0) {
    const token = input.byte();
    out.append(input.take(extended(token >>> 4)));
    // The last sequence is literals alone.
    if (input.left === 0) return;
    const distance = input.number(2);
    out.repeat(distance, extended(token & 15) + 4);
  }
}
