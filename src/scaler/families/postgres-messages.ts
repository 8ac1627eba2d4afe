import { Fault, type FaultCode } from '../../base/errors.ts';
import type { ByteChannel } from './byte-channel.ts';

/** One message of the server: its kind as one letter, and what it says. */
export interface Message {
  kind: string;
  body: Buffer;
}

const oneMiB = 1024 * 1024;
/** What a server may send while we log in, and what later. */
const kinds = { login: /[RSKZENv]/, query: /[123CDEGHINSTZAcdnstR]/ };

/**
 * The next message of a server that we log in to, or that answers a query.
 *
 * @throws Fault SOURCE_ANSWER_INVALID where it is not this protocol, SOURCE_ANSWER_TOO_LARGE for more than a MiB
 */
export async function readMessage(channel: ByteChannel, phase: 'login' | 'query'): Promise<Message> {
  const head = await channel.read(5);
  const kind = String.fromCharCode(head[0] ?? 0);
  const length = head.readInt32BE(1);
  const tooLarge = length > oneMiB;
  if (!kinds[phase].test(kind) || length < 4 || (tooLarge && phase === 'login')) {
    throw new Fault('SOURCE_ANSWER_INVALID', `${channel.name} does not speak PostgreSQL`);
  }
  if (tooLarge) {
    throw new Fault('SOURCE_ANSWER_TOO_LARGE', `${channel.name} answered with more than 1 MiB in one row`);
  }
  return { kind, body: await channel.read(length - 4) };
}

const int16 = (value: number) => {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
};

const int32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};

const text = (value: string) => Buffer.from(`${value}\0`);

function message(kind: string, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from(kind, 'latin1'), int32(body.length + 4), body]);
}

/** The first message, which has no kind. */
export function startup(parameters: Readonly<Record<string, string>>): Buffer {
  const pairs = Object.entries(parameters).flatMap(([name, value]) => [text(name), text(value)]);
  const body = Buffer.concat([int32(196_608), ...pairs, Buffer.alloc(1)]);
  return Buffer.concat([int32(body.length + 4), body]);
}

/** Asks whether to go on encrypted; the answer is one byte. */
export const encryptionRequest = Buffer.concat([int32(8), int32(80_877_103)]);

/** On a connection of its own: stops what another one is doing. */
export const cancelRequest = (key: Buffer): Buffer =>
  Buffer.concat([int32(key.length + 8), int32(80_877_102), key]);

export const passwordMessage = (password: string): Buffer => message('p', text(password));

export const loginStart = (mechanism: string, first: string): Buffer =>
  message('p', text(mechanism), int32(Buffer.byteLength(first)), Buffer.from(first));

export const loginAnswer = (final: string): Buffer => message('p', Buffer.from(final));

/** One statement with everything it needs; at most one row of its result is wanted. */
export const statement = (sql: string): Buffer =>
  Buffer.concat([
    message('P', text(''), text(sql), int16(0)),
    // No parameters, and all columns as text.
    message('B', text(''), text(''), int16(0), int16(0), int16(0)),
    message('D', Buffer.from('P'), text('')),
    message('E', text(''), int32(1)),
  ]);

export const sync: Buffer = message('S');
export const simpleQuery = (sql: string): Buffer => message('Q', text(sql));
export const terminate: Buffer = message('X');

/** The columns of a row as texts. @throws Fault SOURCE_ANSWER_INVALID where it is cut off */
export function cellsOf(body: Buffer): (string | null)[] {
  const cells: (string | null)[] = [];
  try {
    const count = body.readInt16BE(0);
    for (let at = 2, index = 0; index < count; index += 1) {
      const length = body.readInt32BE(at);
      at += 4;
      if (at + length > body.length) throw new RangeError();
      cells.push(length < 0 ? null : body.toString('utf8', at, at + length));
      at += Math.max(0, length);
    }
    return cells;
  } catch {
    throw new Fault('SOURCE_ANSWER_INVALID', 'PostgreSQL answered with a row that is cut off');
  }
}

/** What went wrong, in the server's words. */
export interface ServerError {
  /** Five letters and digits (SQLSTATE). */
  code: string;
  message: string;
}

export function serverErrorOf(body: Buffer): ServerError {
  const fields = new Map<string, string>();
  for (const field of body.toString('utf8').split('\0')) fields.set(field.slice(0, 1), field.slice(1));
  return { code: fields.get('C') ?? '', message: fields.get('M') ?? 'no reason given' };
}

/** The zero-ended texts in some bytes. */
export const textsOf = (body: Buffer): string[] => body.toString('utf8').split('\0').filter(Boolean);

const codes: readonly (readonly [pattern: RegExp, code: FaultCode])[] = [
  [/^28/, 'SOURCE_REFUSED'],
  // No such database, schema or table.
  [/^(3D000|3F000|42P01)$/, 'SOURCE_NOT_FOUND'],
  // Out of connections or memory, or still starting.
  [/^(53|57P03)/, 'SOURCE_BUSY'],
  [/^57014$/, 'SOURCE_TIMEOUT'],
  // Shut down, crashed, or tired of waiting for us.
  [/^(08|57P0[1245]|25P03)/, 'SOURCE_UNREACHABLE'],
];

/**
 * The Fault an error of the server stands for. A table that may not be read is not among the refused credentials:
 * opening anew, for all who share them, would not help. The cause is the `ServerError`.
 */
export function faultOfServerError(error: ServerError, name: string): Fault {
  const { code, message: said } = error;
  const found = codes.find(([pattern]) => pattern.test(code))?.[1] ?? 'SOURCE_FAILED';
  return new Fault(found, `${name} answered: ${said.slice(0, 300)} (${code})`, { cause: error });
}
