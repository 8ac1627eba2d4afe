import { Fault } from '../../base/errors.ts';

/** A value with a descriptor of the specification, such as a performative or a section of a message. */
export class Described {
  readonly descriptor: AmqpValue;
  readonly value: AmqpValue;

  constructor(descriptor: AmqpValue, value: AmqpValue) {
    this.descriptor = descriptor;
    this.value = value;
  }
}

/**
 * What a value becomes: 64-bit integers are bigints, smaller ones numbers, symbols and UUIDs strings, timestamps
 * dates, lists and arrays arrays. A decimal, which nobody uses, is null.
 */
export type AmqpValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Date
  | Buffer
  | readonly AmqpValue[]
  | ReadonlyMap<AmqpValue, AmqpValue>
  | Described;

/** No honest value nests deeper. */
const mostDeep = 32;

/** Encoders by the specification's names of types; what they return goes into each other and onto the wire. */
export const amqp = {
  null: () => Buffer.of(0x40),
  boolean: (value: boolean) => Buffer.of(value ? 0x41 : 0x42),
  ubyte: (value: number) => Buffer.of(0x50, value),
  ushort(value: number) {
    const bytes = Buffer.of(0x60, 0, 0);
    bytes.writeUInt16BE(value, 1);
    return bytes;
  },
  uint(value: number) {
    const bytes = Buffer.alloc(5, 0x70);
    bytes.writeUInt32BE(value, 1);
    return bytes;
  },
  int(value: number) {
    const bytes = Buffer.alloc(5, 0x71);
    bytes.writeInt32BE(value, 1);
    return bytes;
  },
  ulong(value: bigint) {
    const bytes = Buffer.alloc(9, 0x80);
    bytes.writeBigUInt64BE(value, 1);
    return bytes;
  },
  long(value: bigint) {
    const bytes = Buffer.alloc(9, 0x81);
    bytes.writeBigInt64BE(value, 1);
    return bytes;
  },
  timestamp(epochMs: number) {
    const bytes = Buffer.alloc(9, 0x83);
    bytes.writeBigInt64BE(BigInt(epochMs), 1);
    return bytes;
  },
  string: (text: string) => sized(0xa1, 0xb1, Buffer.from(text, 'utf8')),
  symbol: (text: string) => sized(0xa3, 0xb3, Buffer.from(text, 'latin1')),
  binary: (bytes: Uint8Array) => sized(0xa0, 0xb0, Buffer.from(bytes)),
  list: (items: readonly Buffer[]) => compound(0xd0, items),
  /** Keys and values in turn. */
  map: (pairs: readonly Buffer[]) => compound(0xd1, pairs),
  /** An array of UUIDs, each written as text. */
  uuids(texts: readonly string[]) {
    const head = Buffer.alloc(10, 0xf0);
    head.writeUInt32BE(5 + 16 * texts.length, 1);
    head.writeUInt32BE(texts.length, 5);
    head[9] = 0x98;
    return Buffer.concat([head, ...texts.map(text => Buffer.from(text.replaceAll('-', ''), 'hex'))]);
  },
  /** Described by a number of the specification. */
  described: (code: number, value: Buffer) => Buffer.concat([Buffer.of(0x00, 0x53, code), value]),
  /** Described by a symbol, as extensions are. */
  named: (name: string, value: Buffer) => Buffer.concat([Buffer.of(0x00), amqp.symbol(name), value]),
};

function sized(short: number, long: number, bytes: Buffer): Buffer {
  if (bytes.length < 256) return Buffer.concat([Buffer.of(short, bytes.length), bytes]);
  const head = Buffer.alloc(5, long);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

function compound(code: number, items: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(9, code);
  head.writeUInt32BE(
    items.reduce((size, { length }) => size + length, 4),
    1,
  );
  head.writeUInt32BE(items.length, 5);
  return Buffer.concat([head, ...items]);
}

/** Reads values off the front of some bytes. Every function throws Fault SOURCE_ANSWER_INVALID. */
export class AmqpReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get ended(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** What was not read. */
  rest(): Buffer {
    return this.#bytes.subarray(this.#at);
  }

  value(depth = 0): AmqpValue {
    if (depth > mostDeep) throw invalid('a value inside too many others');
    const code = this.#unsigned(1);
    if (code !== 0) return this.#plain(code, depth);
    const descriptor = this.value(depth + 1);
    return new Described(descriptor, this.value(depth + 1));
  }

  #plain(code: number, depth: number): AmqpValue {
    switch (code) {
      case 0x40:
        return null;
      case 0x41:
        return true;
      case 0x42:
        return false;
      case 0x43:
        return 0;
      case 0x44:
        return 0n;
      case 0x45:
        return [];
      case 0x50:
      case 0x52:
        return this.#unsigned(1);
      case 0x51:
      case 0x54:
        return this.#take(1).readInt8();
      case 0x53:
        return BigInt(this.#unsigned(1));
      case 0x55:
        return BigInt(this.#take(1).readInt8());
      case 0x56:
        return this.#unsigned(1) !== 0;
      case 0x60:
        return this.#unsigned(2);
      case 0x61:
        return this.#take(2).readInt16BE();
      case 0x70:
        return this.#unsigned(4);
      case 0x71:
        return this.#take(4).readInt32BE();
      case 0x72:
        return this.#take(4).readFloatBE();
      case 0x73:
        return String.fromCodePoint(Math.min(this.#unsigned(4), 0x10ffff));
      case 0x80:
        return this.#take(8).readBigUInt64BE();
      case 0x81:
        return this.#take(8).readBigInt64BE();
      case 0x82:
        return this.#take(8).readDoubleBE();
      case 0x83:
        return new Date(Number(this.#take(8).readBigInt64BE()));
      case 0x98:
        return uuidText(this.#take(16));
      default:
        return this.#variable(code, depth);
    }
  }

  #variable(code: number, depth: number): AmqpValue {
    const fixed = { 116: 4, 132: 8, 148: 16 }[code];
    if (fixed !== undefined) {
      this.#take(fixed);
      return null;
    }
    if (code < 0xa0) throw invalid(`a value of the unknown type ${code}`);
    // One bit says whether a size is written in one byte or in four.
    const width = (code & 0x10) === 0 ? 1 : 4;
    const bytes = this.#take(this.#unsigned(width));
    switch (code & ~0x10) {
      case 0xa0:
        return bytes;
      case 0xa1:
        return bytes.toString('utf8');
      case 0xa3:
        return bytes.toString('latin1');
      case 0xc0:
        return new AmqpReader(bytes).#items(width, depth);
      case 0xc1:
        return pairs(new AmqpReader(bytes).#items(width, depth));
      case 0xe0:
        return new AmqpReader(bytes).#array(width, depth);
      default:
        throw invalid(`a value of the unknown type ${code}`);
    }
  }

  #items(width: number, depth: number): AmqpValue[] {
    const count = this.#count(width);
    return Array.from({ length: count }, () => this.value(depth + 1));
  }

  #array(width: number, depth: number): AmqpValue[] {
    const count = this.#count(width);
    let code = this.#unsigned(1);
    while (code === 0) {
      this.value(depth + 1);
      code = this.#unsigned(1);
    }
    return Array.from({ length: count }, () => this.#plain(code, depth + 1));
  }

  #count(width: number): number {
    const count = this.#unsigned(width);
    // A few bytes must not stand for millions of values.
    if (count > this.#bytes.length) throw invalid(`${count} values in ${this.#bytes.length} bytes`);
    return count;
  }

  #unsigned(width: number): number {
    return this.#take(width).readUIntBE(0, width);
  }

  #take(size: number): Buffer {
    const end = this.#at + size;
    if (end > this.#bytes.length) throw invalid('a value that ends too early');
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }
}

function pairs(items: readonly AmqpValue[]): Map<AmqpValue, AmqpValue> {
  if (items.length % 2 !== 0) throw invalid('a map with half a pair');
  const map = new Map<AmqpValue, AmqpValue>();
  for (let at = 0; at < items.length; at += 2) map.set(items[at] ?? null, items[at + 1] ?? null);
  return map;
}

function uuidText(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

const invalid = (what: string) => new Fault('SOURCE_ANSWER_INVALID', `sent ${what}`);

/** What a described value holds in a place of its list; null where it ends before. */
export function fieldOf(value: AmqpValue | undefined, place: number): AmqpValue {
  const list = value instanceof Described ? value.value : value;
  return Array.isArray(list) ? ((list as readonly AmqpValue[])[place] ?? null) : null;
}

/** The number that describes a value; undefined for what is not described by one. */
export function codeOf(value: AmqpValue | undefined): number | undefined {
  return value instanceof Described && typeof value.descriptor === 'bigint'
    ? Number(value.descriptor)
    : undefined;
}
