import { Fault } from '../../base/errors.ts';

/** The part of AMQP 0-9-1 that counting, taking and settling messages needs: frames, methods and properties. */

/** What a client says first. */
export const protocolHeader = Buffer.from('AMQP\x00\x00\x09\x01', 'latin1');

export const frameTypes = { method: 1, header: 2, body: 3, heartbeat: 8 } as const;

export interface Frame {
  type: number;
  channel: number;
  payload: Buffer;
}

/** The largest frame we take, its envelope included; RabbitMQ's own default. */
export const frameMax = 131_072;
const envelope = 8;
const frameEnd = 0xce;

/** Methods by class and method number, as one number. */
const id = (classId: number, methodId: number) => classId * 65_536 + methodId;

export const methods = {
  connectionStart: id(10, 10),
  connectionStartOk: id(10, 11),
  connectionTune: id(10, 30),
  connectionTuneOk: id(10, 31),
  connectionOpen: id(10, 40),
  connectionOpenOk: id(10, 41),
  connectionClose: id(10, 50),
  connectionCloseOk: id(10, 51),
  connectionBlocked: id(10, 60),
  connectionUnblocked: id(10, 61),
  channelOpen: id(20, 10),
  channelOpenOk: id(20, 11),
  channelClose: id(20, 40),
  channelCloseOk: id(20, 41),
  queueDeclare: id(50, 10),
  queueDeclareOk: id(50, 11),
  basicQos: id(60, 10),
  basicQosOk: id(60, 11),
  basicPublish: id(60, 40),
  basicReturn: id(60, 50),
  basicGet: id(60, 70),
  basicGetOk: id(60, 71),
  basicGetEmpty: id(60, 72),
  basicAck: id(60, 80),
  basicReject: id(60, 90),
  basicNack: id(60, 120),
  confirmSelect: id(85, 10),
  confirmSelectOk: id(85, 11),
} as const;

/** One frame as it goes over the wire. */
export function encodeFrame(type: number, channel: number, payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(payload.length + envelope);
  frame.writeUInt8(type, 0);
  frame.writeUInt16BE(channel, 1);
  frame.writeUInt32BE(payload.length, 3);
  frame.set(payload, 7);
  frame.writeUInt8(frameEnd, payload.length + 7);
  return frame;
}

/** A method with its arguments. */
export function encodeMethod(channel: number, method: number, args: (writer: Writer) => void): Buffer {
  const writer = new Writer();
  writer.u32(method);
  args(writer);
  return encodeFrame(frameTypes.method, channel, writer.bytes());
}

/** A message after its method: its properties, then its body in as many frames as it takes. */
export function encodeContent(channel: number, properties: Properties, body: Uint8Array): Buffer[] {
  const header = new Writer();
  header.u16(60);
  header.u16(0);
  header.u64(body.length);
  writeProperties(header, properties);
  const frames = [encodeFrame(frameTypes.header, channel, header.bytes())];
  const room = frameMax - envelope;
  for (let offset = 0; offset < body.length; offset += room) {
    frames.push(encodeFrame(frameTypes.body, channel, body.subarray(offset, offset + room)));
  }
  return frames;
}

/** Takes bytes as they come and gives the frames that are whole. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0);

  /** @throws Fault SOURCE_ANSWER_INVALID for what is no frame, SOURCE_ANSWER_TOO_LARGE for one beyond `frameMax` */
  *push(chunk: Buffer): Generator<Frame> {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = Buffer.alloc(0);
    while (bytes.length > 0) {
      const [type = 0] = bytes;
      if (type !== 1 && type !== 2 && type !== 3 && type !== 8) throw strange('does not speak AMQP 0-9-1');
      if (bytes.length < 7) break;
      const size = bytes.readUInt32BE(3);
      if (size + envelope > frameMax) {
        throw new Fault('SOURCE_ANSWER_TOO_LARGE', `sent a frame of ${size} bytes`);
      }
      if (bytes.length < size + envelope) break;
      if (bytes[size + 7] !== frameEnd) throw strange('sent a frame without an end');
      yield { type, channel: bytes.readUInt16BE(1), payload: bytes.subarray(7, size + 7) };
      bytes = bytes.subarray(size + envelope);
    }
    // Copied, so that a few bytes do not keep a whole chunk.
    this.#rest = Buffer.from(bytes);
  }
}

const strange = (what: string) => new Fault('SOURCE_ANSWER_INVALID', what);

/** Arguments of a method, put together. */
export class Writer {
  readonly #parts: Buffer[] = [];

  u8(value: number): void {
    this.raw(Uint8Array.of(value));
  }

  u16(value: number): void {
    const part = Buffer.allocUnsafe(2);
    part.writeUInt16BE(value);
    this.#parts.push(part);
  }

  u32(value: number): void {
    const part = Buffer.allocUnsafe(4);
    part.writeUInt32BE(value);
    this.#parts.push(part);
  }

  u64(value: number): void {
    const part = Buffer.allocUnsafe(8);
    part.writeBigUInt64BE(BigInt(value));
    this.#parts.push(part);
  }

  /** @throws Fault PARAM_INVALID for a text of more than 255 bytes, which AMQP has no room for */
  short(text: string): void {
    const bytes = Buffer.from(text);
    if (bytes.length > 255) {
      throw new Fault('PARAM_INVALID', `"${text.slice(0, 40)}…" is longer than the 255 bytes of AMQP`);
    }
    this.u8(bytes.length);
    this.raw(bytes);
  }

  long(bytes: Uint8Array): void {
    this.u32(bytes.length);
    this.raw(bytes);
  }

  /** Entries whose values are written already, with their type. */
  table(entries: Iterable<readonly [string, Uint8Array]>): void {
    const table = new Writer();
    for (const [name, value] of entries) {
      table.short(name);
      table.raw(value);
    }
    this.long(table.bytes());
  }

  raw(bytes: Uint8Array): void {
    this.#parts.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

/** A value of a table, with its type. */
export function tableText(text: string): Buffer {
  const writer = new Writer();
  writer.raw(Buffer.from('S'));
  writer.long(Buffer.from(text));
  return writer.bytes();
}

/** A 32-bit number as the value of a table. */
export function tableNumber(value: number): Buffer {
  const writer = new Writer();
  writer.raw(Buffer.from('I'));
  writer.u32(value);
  return writer.bytes();
}

/** Capabilities, as the value of a table. */
export function tableFlags(names: readonly string[]): Buffer {
  const writer = new Writer();
  writer.raw(Buffer.from('F'));
  writer.table(names.map(name => [name, Buffer.from('t\x01', 'latin1')] as const));
  return writer.bytes();
}

/** Reads arguments in their order. @throws Fault SOURCE_ANSWER_INVALID where they end too early */
export class Reader {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes;
    this.#at = at;
  }

  u8(): number {
    return this.raw(1).readUInt8();
  }

  u16(): number {
    return this.raw(2).readUInt16BE();
  }

  u32(): number {
    return this.raw(4).readUInt32BE();
  }

  /** Counts and delivery tags, which stay far below 2^53. */
  u64(): number {
    return Number(this.raw(8).readBigUInt64BE());
  }

  short(): string {
    return this.raw(this.u8()).toString();
  }

  long(): Buffer {
    return this.raw(this.u32());
  }

  raw(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw strange('sent a method that ends too early');
    const part = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return part;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }
}

/** Bytes that a value of a table has after its type; of others the length stands in front. */
const fixedSizes: Readonly<Record<string, number>> = {
  t: 1,
  b: 1,
  B: 1,
  s: 2,
  u: 2,
  U: 2,
  I: 4,
  i: 4,
  f: 4,
  l: 8,
  L: 8,
  d: 8,
  T: 8,
  D: 5,
  V: 0,
};

/** The values of a table with their types, as they came: what is not understood can still be passed on. */
export function readTable(table: Buffer): Map<string, Buffer> {
  const reader = new Reader(table);
  const values = new Map<string, Buffer>();
  while (reader.left > 0) {
    const name = reader.short();
    const type = reader.raw(1);
    const fixed = fixedSizes[type.toString('latin1')];
    if (fixed === undefined && !/[SxAF]/.test(type.toString('latin1'))) {
      throw strange(`sent a header of an unknown type`);
    }
    const size = fixed === undefined ? reader.raw(4) : Buffer.alloc(0);
    const value = reader.raw(fixed ?? size.readUInt32BE());
    values.set(name, Buffer.concat([type, size, value]));
  }
  return values;
}

/** A whole number in a table, however wide it was sent; undefined for anything else. */
export function numberIn(value: Buffer | undefined): number | undefined {
  switch (value?.toString('latin1', 0, 1)) {
    case 'b':
      return value.readInt8(1);
    case 'B':
      return value.readUInt8(1);
    case 's':
    case 'U':
      return value.readInt16BE(1);
    case 'u':
      return value.readUInt16BE(1);
    case 'I':
      return value.readInt32BE(1);
    case 'i':
      return value.readUInt32BE(1);
    case 'l':
    case 'L':
      return Number(value.readBigInt64BE(1));
    default:
      return undefined;
  }
}

/** What comes with a message. */
export interface Properties {
  contentType?: string;
  contentEncoding?: string;
  headers?: Map<string, Buffer>;
  /** 2 where the message outlives the broker. */
  deliveryMode?: number;
  priority?: number;
  correlationId?: string;
  replyTo?: string;
  expiration?: string;
  messageId?: string;
  /** Seconds since 1970. */
  timestamp?: number;
  type?: string;
  userId?: string;
  appId?: string;
  clusterId?: string;
}

type Kind = 'short' | 'u8' | 'u64' | 'table';

/** In the order of their flags, from the highest bit down. */
const layout: readonly [keyof Properties, Kind][] = [
  ['contentType', 'short'],
  ['contentEncoding', 'short'],
  ['headers', 'table'],
  ['deliveryMode', 'u8'],
  ['priority', 'u8'],
  ['correlationId', 'short'],
  ['replyTo', 'short'],
  ['expiration', 'short'],
  ['messageId', 'short'],
  ['timestamp', 'u64'],
  ['type', 'short'],
  ['userId', 'short'],
  ['appId', 'short'],
  ['clusterId', 'short'],
];

function writeProperties(writer: Writer, properties: Properties): void {
  const given = layout.filter(([name]) => properties[name] !== undefined);
  const flags = given.reduce((sum, each) => sum + (0x8000 >> layout.indexOf(each)), 0);
  writer.u16(flags);
  for (const [name, kind] of given) {
    const value = properties[name];
    if (kind === 'table') writer.table(value as Map<string, Buffer>);
    else if (kind === 'short') writer.short(String(value));
    else writer[kind](Number(value));
  }
}

/** The header of a message: how long its body is, and its properties. */
export function readContentHeader(payload: Buffer): { bodySize: number; properties: Properties } {
  const reader = new Reader(payload, 4);
  const bodySize = reader.u64();
  const flags = reader.u16();
  const properties: Record<string, unknown> = {};
  for (const [index, [name, kind]] of layout.entries()) {
    if ((flags & (0x8000 >> index)) === 0) continue;
    properties[name] = kind === 'table' ? readTable(reader.long()) : reader[kind]();
  }
  return { bodySize, properties: properties as Properties };
}
