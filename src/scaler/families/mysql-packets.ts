import { Fault, type FaultCode } from '../../base/errors.ts';
import type { ByteChannel } from './byte-channel.ts';

const oneMiB = 1024 * 1024;
/** A greeting is short; whoever starts with more speaks something else. */
const mostWhileLoggingIn = 16 * 1024;

/** What the client can do, as bits (capability flags). */
export const can = {
  longPassword: 0x1,
  longFlag: 0x4,
  connectWithDatabase: 0x8,
  protocol41: 0x200,
  encryption: 0x800,
  transactions: 0x2000,
  secureConnection: 0x8000,
  multiStatements: 0x1_0000,
  multiResults: 0x2_0000,
  authPlugins: 0x8_0000,
  attributes: 0x10_0000,
  longAuth: 0x20_0000,
} as const;

/** The numbered packets of one session. */
export class Packets {
  readonly channel: ByteChannel;
  #next = 0;

  constructor(channel: ByteChannel) {
    this.channel = channel;
  }

  /**
   * The next packet of a server that we log in to, or that answers a query.
   *
   * @throws Fault SOURCE_ANSWER_INVALID where it is not this protocol, SOURCE_ANSWER_TOO_LARGE for more than a MiB
   */
  async read(phase: 'login' | 'query'): Promise<PacketReader> {
    const { name } = this.channel;
    const head = await this.channel.read(4);
    const length = head.readUIntLE(0, 3);
    if (head[3] !== this.#next || (phase === 'login' && length > mostWhileLoggingIn)) {
      throw new Fault('SOURCE_ANSWER_INVALID', `${name} does not speak MySQL`);
    }
    if (length > oneMiB) {
      throw new Fault('SOURCE_ANSWER_TOO_LARGE', `${name} answered with more than 1 MiB in one row`);
    }
    this.#next = (this.#next + 1) & 0xff;
    return new PacketReader(await this.channel.read(length), name);
  }

  /** @throws Fault PARAM_INVALID for more than fits into one packet */
  write(payload: Uint8Array): void {
    if (payload.length >= 0xffffff) throw new Fault('PARAM_INVALID', 'the query has more than 16 MiB');
    const head = Buffer.alloc(4);
    head.writeUIntLE(payload.length, 0, 3);
    head[3] = this.#next;
    this.#next = (this.#next + 1) & 0xff;
    this.channel.write(Buffer.concat([head, payload]));
  }

  /** Starts a new exchange. */
  command(code: number, text: string): void {
    this.#next = 0;
    this.write(Buffer.concat([Buffer.from([code]), Buffer.from(text)]));
  }
}

/** Takes a packet apart. Everything throws SOURCE_ANSWER_INVALID where it is cut off. */
export class PacketReader {
  readonly #bytes: Buffer;
  readonly #name: string;
  #at = 0;

  constructor(bytes: Buffer, name: string) {
    this.#bytes = bytes;
    this.#name = name;
  }

  /** The first byte, which says what it is. */
  get kind(): number {
    return this.#bytes[0] ?? -1;
  }

  get length(): number {
    return this.#bytes.length;
  }

  integer(size: number): number {
    return this.bytes(size).readUIntLE(0, size);
  }

  bytes(size: number): Buffer {
    const end = this.#at + size;
    if (size < 0 || end > this.#bytes.length) {
      throw new Fault('SOURCE_ANSWER_INVALID', `${this.#name} answered with a packet that is cut off`);
    }
    const found = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return found;
  }

  rest(): Buffer {
    return this.bytes(this.#bytes.length - this.#at);
  }

  /** Up to a zero byte, or to the end. */
  text(): string {
    const zero = this.#bytes.indexOf(0, this.#at);
    if (zero < 0) return this.rest().toString('utf8');
    const found = this.bytes(zero - this.#at).toString('utf8');
    this.#at += 1;
    return found;
  }

  /** A number that says its own size; undefined for NULL. */
  lengthEncoded(): number | undefined {
    const first = this.integer(1);
    switch (first) {
      case 0xfb:
        return undefined;
      case 0xfc:
        return this.integer(2);
      case 0xfd:
        return this.integer(3);
      case 0xfe:
        return Number(this.bytes(8).readBigUInt64LE());
      default:
        return first;
    }
  }
}

/** A text or some bytes with their length before them. */
export function lengthEncoded(content: Uint8Array): Buffer {
  const { length } = content;
  if (length < 0xfb) return Buffer.concat([Buffer.from([length]), content]);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(length);
  return Buffer.concat([Buffer.from([0xfd]), size.subarray(0, 3), content]);
}

/** What went wrong, in the server's words. */
export interface ServerError {
  number: number;
  message: string;
}

/** Reads an error packet. */
export function serverErrorOf(packet: PacketReader): ServerError {
  packet.bytes(1);
  const number = packet.integer(2);
  const text = packet.rest().toString('utf8');
  // The five signs of the SQLSTATE come first where the session has started.
  return { number, message: text.startsWith('#') ? text.slice(6) : text };
}

const codes = new Map<number, FaultCode>([
  // Access denied: to everything, to the database, to this host; or a way to log in that is not the user's.
  ...[1045, 1698, 1044, 1129, 1130, 1251, 1862, 3118].map(each => [each, 'SOURCE_REFUSED'] as const),
  // No such database or table.
  ...[1049, 1051, 1146].map(each => [each, 'SOURCE_NOT_FOUND'] as const),
  // Too many connections, of all or of this user, or out of resources.
  ...[1040, 1041, 1203, 1226, 1135].map(each => [each, 'SOURCE_BUSY'] as const),
  // Stopped at a limit of time.
  ...[1969, 3024].map(each => [each, 'SOURCE_TIMEOUT'] as const),
  // Shutting down, or somebody ended the session.
  ...[1053, 1077, 1079, 1927, 4031].map(each => [each, 'SOURCE_UNREACHABLE'] as const),
]);

/**
 * The Fault an error of the server stands for; its cause is the `ServerError`. A table that may not be read is not
 * among the refused credentials: opening anew, for all who share them, would not help.
 */
export function faultOfServerError(error: ServerError, name: string): Fault {
  const { number, message } = error;
  const said = `${name} answered: ${message.slice(0, 300)} (${number})`;
  return new Fault(codes.get(number) ?? 'SOURCE_FAILED', said, { cause: error });
}
