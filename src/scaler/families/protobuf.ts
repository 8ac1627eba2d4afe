import { Fault } from '../../base/errors.ts';

/** One field of a message as it is on the wire: a number (int64, bool), eight bytes (double), or bytes. */
export type WireField =
  | { number: number; kind: 'varint'; value: bigint }
  | { number: number; kind: 'fixed64'; value: Buffer }
  | { number: number; kind: 'fixed32'; value: Buffer }
  | { number: number; kind: 'bytes'; value: Buffer };

/**
 * The fields of a message in the order they come; a reader skips those it does not know.
 *
 * @throws Fault SOURCE_ANSWER_INVALID
 */
export function* wireFields(message: Buffer): Generator<WireField> {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = message[at];
      if (byte === undefined) throw invalid('ends in the middle of a number');
      at += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value & 0xffff_ffff_ffff_ffffn;
    }
    throw invalid('has a number that does not end');
  };
  const take = (length: number): Buffer => {
    if (length > message.length - at) throw invalid('ends in the middle of a field');
    at += length;
    return message.subarray(at - length, at);
  };
  while (at < message.length) {
    const key = varint();
    const number = Number(key >> 3n);
    if (number === 0) throw invalid('has a field without a number');
    switch (Number(key & 7n)) {
      case 0:
        yield { number, kind: 'varint', value: varint() };
        break;
      case 1:
        yield { number, kind: 'fixed64', value: take(8) };
        break;
      case 2:
        yield { number, kind: 'bytes', value: take(Number(varint())) };
        break;
      case 5:
        yield { number, kind: 'fixed32', value: take(4) };
        break;
      default:
        throw invalid('has a field of a kind that does not exist');
    }
  }
}

/** A number on the wire as a signed one of 64 bits; beyond 2^53 it is the nearest. */
export const int64 = (value: bigint): number => Number(BigInt.asIntN(64, value));

const strict = new TextDecoder('utf-8', { fatal: true });

/** @throws Fault SOURCE_ANSWER_INVALID where the bytes are no UTF-8 */
export function wireText(bytes: Buffer): string {
  try {
    return strict.decode(bytes);
  } catch {
    throw invalid('has a text that is not UTF-8');
  }
}

/** A field that holds a text or a message. An empty text is left out, as protobuf does. */
export function bytesField(number: number, value: string | Buffer): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  if (typeof value === 'string' && bytes.length === 0) return bytes;
  return Buffer.concat([encodeVarint((number << 3) | 2), encodeVarint(bytes.length), bytes]);
}

function encodeVarint(value: number): Buffer {
  const bytes = [];
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  return Buffer.from([...bytes, rest]);
}

const invalid = (what: string) => new Fault('SOURCE_ANSWER_INVALID', `a message ${what}`);
