import { Fault } from '../../base/errors.ts';

/** An error that the server answered with: `NOAUTH Authentication required.` has the code NOAUTH. */
export class ReplyError {
  readonly code: string;
  readonly message: string;

  constructor(message: string) {
    this.message = message;
    this.code = message.split(' ', 1)[0] ?? '';
  }
}

/** What Redis answers with, in version 2 of its protocol: every server there is speaks it. */
export type Reply = string | number | null | Buffer | ReplyError | Reply[];

/** A command with its arguments. */
export type Command = readonly (string | Uint8Array)[];

/** Writes commands one after another, as one request. */
export function encodeCommands(commands: readonly Command[]): Buffer {
  const parts: Uint8Array[] = [];
  let text = '';
  for (const command of commands) {
    text += `*${command.length}\r\n`;
    for (const arg of command) {
      if (typeof arg === 'string') {
        text += `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`;
        continue;
      }
      parts.push(Buffer.from(`${text}$${arg.length}\r\n`), arg);
      text = '\r\n';
    }
  }
  return Buffer.concat([...parts, Buffer.from(text)]);
}

const mostLineBytes = 64 * 1024;
const mostDepth = 16;

/** Nothing whole is there yet. */
const partial = Symbol('partial');

/** Reads replies from the pieces in which they arrive. */
export class ReplyReader {
  /** The most bytes the reply that comes next may have. */
  mostBytes = Number.POSITIVE_INFINITY;
  #chunks: Buffer[] = [];
  #size = 0;
  /** Bytes to wait for before it is worth looking again. */
  #need = 1;
  /** Arrays that have begun and are not complete, the outermost first. */
  readonly #open: { items: Reply[]; left: number }[] = [];
  /** Bytes of the reply under way that were read already. */
  #used = 0;

  /**
   * Takes a piece in and gives each reply that it completes.
   *
   * @throws Fault SOURCE_ANSWER_INVALID or SOURCE_ANSWER_TOO_LARGE, whose messages lack their subject
   */
  *push(chunk: Buffer): Generator<Reply, void> {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    if (this.#size < this.#need) return;
    let bytes = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks, this.#size);
    for (;;) {
      const before = bytes.length;
      const [reply, rest] = this.#element(bytes);
      bytes = rest;
      this.#used += before - rest.length;
      if (reply === partial) break;
      const whole = this.#place(reply);
      if (whole === partial) continue;
      this.#used = 0;
      yield whole;
    }
    this.#limit(this.#used + bytes.length);
    this.#chunks = bytes.length === 0 ? [] : [bytes];
    this.#size = bytes.length;
  }

  /** Puts an element where it belongs; the outermost reply comes back once it is complete. */
  #place(element: Reply | { items: number }): Reply | typeof partial {
    let done: Reply;
    if (isOpening(element)) {
      if (element.items > 0) {
        if (this.#open.length >= mostDepth) throw invalid('answered with lists in lists in lists');
        this.#open.push({ items: [], left: element.items });
        return partial;
      }
      done = [];
    } else done = element;
    for (;;) {
      const inner = this.#open.at(-1);
      if (inner === undefined) return done;
      inner.items.push(done);
      inner.left -= 1;
      if (inner.left > 0) return partial;
      this.#open.pop();
      done = inner.items;
    }
  }

  #element(bytes: Buffer): [Reply | { items: number } | typeof partial, Buffer] {
    const [type] = bytes;
    if (type !== undefined && !isType(type)) throw invalid('does not speak the protocol of Redis');
    const end = bytes.indexOf('\r\n');
    if (end === -1) {
      if (bytes.length > mostLineBytes) throw invalid('answered with a line without an end');
      this.#need = bytes.length + 1;
      return [partial, bytes];
    }
    const line = bytes.toString('utf8', 1, end);
    const rest = bytes.subarray(end + 2);
    switch (type) {
      case 0x2b: // +
        return [line, rest];
      case 0x2d: // -
        return [new ReplyError(line), rest];
      case 0x3a: // :
        return [integer(line), rest];
      case 0x2a: // *
        return [line === '-1' ? null : { items: length(line) }, rest];
      default:
        return line === '-1' ? [null, rest] : this.#bulk(bytes, end + 2, length(line));
    }
  }

  #bulk(bytes: Buffer, start: number, size: number): [Buffer | typeof partial, Buffer] {
    const end = start + size;
    if (bytes.length < end + 2) {
      this.#limit(this.#used + end);
      this.#need = end + 2;
      return [partial, bytes];
    }
    if (bytes[end] !== 0x0d || bytes[end + 1] !== 0x0a)
      throw invalid('answered with a text of another length');
    // A copy: a small text must not keep the whole piece it came in.
    return [Buffer.from(bytes.subarray(start, end)), bytes.subarray(end + 2)];
  }

  #limit(bytes: number): void {
    if (bytes <= this.mostBytes) return;
    throw new Fault('SOURCE_ANSWER_TOO_LARGE', `answered with more than ${this.mostBytes} bytes`);
  }
}

function isOpening(element: Reply | { items: number }): element is { items: number } {
  return typeof element === 'object' && element !== null && 'items' in element;
}

function isType(byte: number): boolean {
  return byte === 0x2b || byte === 0x2d || byte === 0x3a || byte === 0x2a || byte === 0x24;
}

function integer(line: string): number {
  if (!/^[+-]?\d{1,19}$/.test(line)) throw invalid('answered with a number that is none');
  return Number(line);
}

function length(line: string): number {
  if (!/^\d{1,10}$/.test(line)) throw invalid('answered with a length that is none');
  return Number(line);
}

const invalid = (what: string) => new Fault('SOURCE_ANSWER_INVALID', what);
