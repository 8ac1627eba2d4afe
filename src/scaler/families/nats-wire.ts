import { Fault } from '../../base/errors.ts';

/** A message of NATS as it arrives. */
export interface NatsMessage {
  /** Of which of our subscriptions it is: a message of a stream comes by its own subject, not the one we asked by. */
  subscription: string;
  subject: string;
  /** Where an answer to it goes; for a message of JetStream, what acknowledges it. */
  reply: string | undefined;
  /** As they came, names in any case. */
  headers: readonly (readonly [name: string, value: string])[];
  /** Set where the server answers with a status instead of a message: 404, 408, 409, 503… */
  status: number | undefined;
  /** What the server says with a status. */
  description: string;
  data: Buffer;
}

/** What a server says. */
export type NatsEvent =
  | { kind: 'info'; info: Readonly<Record<string, unknown>> }
  | { kind: 'message'; message: NatsMessage }
  | { kind: 'error'; text: string }
  | { kind: 'ping' }
  | { kind: 'pong' };

const crlf = Buffer.from('\r\n');
/** INFO names every server of a cluster, and is the longest line there is. */
const mostLineBytes = 1024 * 1024;
/** The largest message that a server can be set to take. */
const mostMessageBytes = 64 * 1024 * 1024;

interface Expected {
  subscription: string;
  subject: string;
  reply: string | undefined;
  headerBytes: number;
  totalBytes: number;
}

/**
 * Takes bytes as they arrive and makes events of them.
 *
 * @see https://docs.nats.io/reference/reference-protocols/nats-protocol
 */
export class NatsReader {
  #chunks: Buffer[] = [];
  #buffered = 0;
  #expected: Expected | undefined;

  /** @throws Fault SOURCE_ANSWER_INVALID or SOURCE_ANSWER_TOO_LARGE, with a sentence that lacks its subject */
  push(chunk: Buffer): NatsEvent[] {
    this.#chunks.push(chunk);
    this.#buffered += chunk.length;
    const events: NatsEvent[] = [];
    // A large message comes in many pieces: they are not put together before all are there.
    while (this.#buffered > 0 && this.#buffered >= this.#wanted()) {
      const event = this.#expected === undefined ? this.#line() : this.#payload(this.#expected);
      if (event === undefined) break;
      if (event !== 'nothing') events.push(event);
    }
    return events;
  }

  /** How many bytes came that no event was made of. */
  get buffered(): number {
    return this.#buffered;
  }

  #wanted(): number {
    return this.#expected === undefined ? 2 : this.#expected.totalBytes + crlf.length;
  }

  #whole(): Buffer {
    const [first = Buffer.alloc(0)] = this.#chunks;
    const whole = this.#chunks.length === 1 ? first : Buffer.concat(this.#chunks, this.#buffered);
    this.#chunks = [whole];
    return whole;
  }

  #drop(size: number): void {
    const rest = this.#whole().subarray(size);
    this.#chunks = rest.length === 0 ? [] : [rest];
    this.#buffered = rest.length;
  }

  #line(): NatsEvent | 'nothing' | undefined {
    const whole = this.#whole();
    const end = whole.indexOf(crlf);
    if (end < 0 || end > mostLineBytes) {
      if (whole.length > mostLineBytes) throw new Fault('SOURCE_ANSWER_TOO_LARGE', 'sent a line without end');
      if (!/^[A-Za-z+-]/.test(whole.toString('latin1', 0, 1))) throw strange();
      return undefined;
    }
    const line = whole.toString('utf8', 0, end);
    this.#drop(end + crlf.length);
    const [, verb = '', rest = ''] = /^(\S+)\s*(.*)$/s.exec(line) ?? [];
    switch (verb.toUpperCase()) {
      case 'MSG':
      case 'HMSG':
        this.#expected = expectedOf(verb.toUpperCase(), rest);
        return 'nothing';
      case 'INFO':
        return { kind: 'info', info: infoOf(rest) };
      case '-ERR':
        return { kind: 'error', text: rest.replace(/^'(.*)'$/s, '$1') };
      case 'PING':
        return { kind: 'ping' };
      case 'PONG':
        return { kind: 'pong' };
      case '+OK':
        return 'nothing';
      default:
        throw strange();
    }
  }

  #payload({ subscription, subject, reply, headerBytes, totalBytes }: Expected): NatsEvent {
    const whole = this.#whole();
    if (!whole.subarray(totalBytes, totalBytes + crlf.length).equals(crlf)) throw strange();
    const head = whole.toString('utf8', 0, headerBytes);
    // A copy: what is kept of a message must not keep all that came with it.
    const data = Buffer.from(whole.subarray(headerBytes, totalBytes));
    this.#drop(totalBytes + crlf.length);
    this.#expected = undefined;
    return { kind: 'message', message: { subscription, subject, reply, ...readHeaders(head), data } };
  }
}

function expectedOf(verb: string, rest: string): Expected {
  const words = rest.split(/\s+/);
  const sizes = verb === 'HMSG' ? 2 : 1;
  const numbers = words.slice(-sizes).map(word => (/^\d{1,10}$/.test(word) ? Number(word) : Number.NaN));
  const [subject, subscription, reply] = words.slice(0, -sizes);
  const totalBytes = numbers.at(-1) ?? Number.NaN;
  const headerBytes = sizes === 2 ? (numbers[0] ?? Number.NaN) : 0;
  if (subject === undefined || subscription === undefined || !(headerBytes <= totalBytes)) throw strange();
  if (totalBytes > mostMessageBytes) {
    throw new Fault('SOURCE_ANSWER_TOO_LARGE', `sent a message of ${totalBytes} bytes`);
  }
  return { subscription, subject, reply, headerBytes, totalBytes };
}

function infoOf(text: string): Readonly<Record<string, unknown>> {
  try {
    const info: unknown = JSON.parse(text);
    if (typeof info === 'object' && info !== null) return info as Readonly<Record<string, unknown>>;
  } catch {
    // Whatever it is, it is none of what NATS says.
  }
  throw strange();
}

const strange = () => new Fault('SOURCE_ANSWER_INVALID', 'does not speak NATS');

/** Reads a block of headers as NATS writes them: a line with the version and perhaps a status, then `Name: value`. */
export function readHeaders(text: string): Pick<NatsMessage, 'headers' | 'status' | 'description'> {
  const [first = '', ...lines] = text.split('\r\n');
  const [, status, description = ''] = /^NATS\/1\.0\s+(\d{3})\s*(.*)$/.exec(first) ?? [];
  const headers = lines.flatMap(line => {
    const at = line.indexOf(':');
    return at <= 0 ? [] : [[line.slice(0, at), line.slice(at + 1).trim()] as const];
  });
  return { headers, status: status === undefined ? undefined : Number(status), description };
}

/** A message to send. Names and values of headers must be free of line breaks. */
export interface NatsPublication {
  subject: string;
  reply?: string | undefined;
  headers?: readonly (readonly [name: string, value: string])[];
  data: Uint8Array | string;
}

/** @throws Fault INTERNAL for a subject that could become something else on the way */
export function encodePublication({ subject, reply, headers = [], data }: NatsPublication): Buffer {
  for (const each of [subject, reply ?? 'none']) {
    if (!/^[^\s\u0000-\u001f]+$/u.test(each)) {
      throw new Fault('INTERNAL', `${JSON.stringify(each)} is not a subject of NATS`);
    }
  }
  const body = typeof data === 'string' ? Buffer.from(data) : data;
  const to = reply === undefined ? subject : `${subject} ${reply}`;
  if (headers.length === 0) {
    return Buffer.concat([Buffer.from(`PUB ${to} ${body.length}\r\n`), body, crlf]);
  }
  const head = Buffer.from(
    `NATS/1.0\r\n${headers.map(([name, value]) => `${name}: ${value.replace(/[\r\n]+/g, ' ')}\r\n`).join('')}\r\n`,
  );
  const size = head.length + body.length;
  return Buffer.concat([Buffer.from(`HPUB ${to} ${head.length} ${size}\r\n`), head, body, crlf]);
}
