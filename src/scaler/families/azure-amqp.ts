import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import { Fault, type FaultCode, faultOf } from '../../base/errors.ts';
import { networkFault } from '../../base/http.ts';
import {
  type AmqpFrame,
  codes,
  encodeFrame,
  FrameReader,
  headers,
  mostFrameBytes,
  mostMessageBytes,
} from './azure-amqp-frames.ts';
import { type AmqpValue, amqp, codeOf, fieldOf } from './azure-amqp-types.ts';
import { type Address, openSocket, type Way } from './socket.ts';

/** How to come in: Azure lets everybody connect, and asks for tokens afterwards. */
export interface AmqpEntry extends Way {
  /** The name of the namespace, as it is told to the server. */
  host: string;
  /** What the owner of the namespace sees in its logs: the begin of the container's id, and the user agent. */
  clientName: string;
  connectionName: string;
}

/** A link that is to be made. */
export interface LinkWish {
  role: 'sender' | 'receiver';
  source: Buffer;
  target: Buffer;
  /** What is received stays the other side's, locked for us, until it is settled by its lock. */
  locks?: boolean;
  /** Takes each whole message that arrives, with the tag that it was sent under. */
  take?(message: Buffer, tag: Buffer): void;
  /** Called once the other side has sent what it had after `drain`. */
  drained?(): void;
  /** Called once, when the link or the connection is over. */
  over?(fault: Fault): void;
}

/** One end of a link that was made. */
export interface AmqpLinkEnd {
  /** Asks for so many messages more. */
  allow(messages: number): void;
  /** Asks for what is there now of the messages that were allowed, and no more. */
  drain(): void;
  /** Sends a message, as soon as the other side takes one. */
  send(message: Buffer): void;
  /** Ends it; a second call does nothing. */
  detach(): void;
}

interface Link extends AmqpLinkEnd {
  readonly name: string;
  readonly wish: LinkWish;
  readonly handle: number;
  credit: number;
  deliveries: number;
  parts: Buffer[];
  partBytes: number;
  tag: Buffer;
  draining: boolean;
  readonly queue: Buffer[];
  made: { resolve(link: Link): void; reject(fault: Fault): void } | undefined;
  detached: boolean;
}

/** The other side is to say something at least this often, in milliseconds. */
const silenceMs = 60_000;
const window = 0x7fff_ffff;

/**
 * Connects and opens one session.
 *
 * @throws Fault SOURCE_UNREACHABLE, SOURCE_REFUSED, SOURCE_TIMEOUT, SOURCE_ANSWER_INVALID or CANCELLED
 */
export async function connectAzureAmqp(
  address: Address,
  entry: AmqpEntry,
  signal: AbortSignal,
): Promise<AmqpConnection> {
  const socket = await openSocket(address, entry, signal);
  const connection = new AmqpConnection(socket, entry.host);
  const stop = () => connection.end(networkFault(signal.reason, entry.host, signal));
  signal.addEventListener('abort', stop, { once: true });
  try {
    if (signal.aborted) stop();
    await connection.enter(entry);
    return connection;
  } catch (thrown) {
    connection.end(faultOf(thrown));
    throw thrown;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** One AMQP 1.0 connection with one session, which has as many links as are asked for. */
export class AmqpConnection implements AsyncDisposable {
  readonly name: string;
  readonly #socket: Socket;
  readonly #reader = new FrameReader();
  readonly #links = new Map<number, Link>();
  readonly #byName = new Map<string, Link>();
  /** By the number that the other side has given to the link. */
  readonly #remote = new Map<number, Link>();
  readonly #said: (AmqpFrame | 'header')[] = [];
  #listener: { resolve(said: AmqpFrame | 'header'): void; reject(fault: Fault): void } | undefined;
  #entered = false;
  #end: Fault | undefined;
  #handles = 0;
  #nextOut = 0;
  #nextIn = 0;
  #remoteWindow = 0;
  #remoteFrame = 512;
  #heard = 0;
  #heardAt = 0;
  #beat: NodeJS.Timeout | undefined;

  constructor(socket: Socket, name: string) {
    this.name = name;
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', thrown => this.end(networkFault(thrown, name)));
    socket.on('close', () => this.end(new Fault('SOURCE_UNREACHABLE', `${name} closed the connection`)));
  }

  /** False once either side has closed it; then it stays closed. */
  get open(): boolean {
    return this.#end === undefined;
  }

  /** How often the other side has said anything. */
  get heard(): number {
    return this.#heard;
  }

  /** The handshake. */
  async enter({ host, clientName, connectionName }: AmqpEntry): Promise<void> {
    this.#socket.write(headers.sasl);
    await this.#hearHeader();
    await this.#hear(codes.saslMechanisms);
    const init = amqp.list([amqp.symbol('ANONYMOUS'), amqp.null(), amqp.string(host)]);
    this.#socket.write(encodeFrame('sasl', amqp.described(codes.saslInit, init)));
    const outcome = await this.#hear(codes.saslOutcome);
    if (fieldOf(outcome, 0) !== 0) throw new Fault('SOURCE_REFUSED', `${this.name} lets nobody connect`);
    this.#socket.write(headers.amqp);
    this.#say(codes.open, [
      amqp.string(`${clientName}-${randomUUID()}`),
      amqp.string(host),
      amqp.uint(mostFrameBytes),
      amqp.ushort(0),
      amqp.uint(silenceMs),
      amqp.null(),
      amqp.null(),
      amqp.null(),
      amqp.null(),
      amqp.map([
        amqp.symbol('product'),
        amqp.string('Eventide'),
        amqp.symbol('user-agent'),
        amqp.string(connectionName),
      ]),
    ]);
    this.#say(codes.begin, [
      amqp.null(),
      amqp.uint(0),
      amqp.uint(window),
      amqp.uint(window),
      amqp.uint(65_535),
    ]);
    await this.#hearHeader();
    const opened = await this.#hear(codes.open);
    const frame = fieldOf(opened, 2);
    this.#remoteFrame = typeof frame === 'number' ? Math.max(512, frame) : mostFrameBytes;
    const begun = await this.#hear(codes.begin);
    this.#nextIn = numberOf(fieldOf(begun, 1));
    this.#remoteWindow = numberOf(fieldOf(begun, 2));
    this.#entered = true;
    for (const said of this.#said.splice(0)) if (said !== 'header') this.#handle(said);
    this.#startBeating(numberOf(fieldOf(opened, 4)));
  }

  /**
   * Makes a link, which lasts until either side ends it.
   *
   * @throws Fault SOURCE_REFUSED, SOURCE_NOT_FOUND…, SOURCE_TIMEOUT or CANCELLED
   */
  async attach(wish: LinkWish, signal: AbortSignal): Promise<AmqpLinkEnd> {
    if (this.#end !== undefined) throw this.#end;
    if (signal.aborted) throw networkFault(signal.reason, this.name, signal);
    let stop = () => {};
    try {
      return await new Promise<AmqpLinkEnd>((resolve, reject) => {
        const link = this.#newLink(wish, { resolve, reject });
        const heard = this.#heard;
        stop = () => {
          const fault = networkFault(signal.reason, this.name, signal);
          link.detach();
          reject(fault);
          // Who says nothing at all is gone: the next one connects anew.
          if (this.#heard === heard) this.end(fault);
        };
        signal.addEventListener('abort', stop, { once: true });
        this.#say(codes.attach, [
          amqp.string(link.name),
          amqp.uint(link.handle),
          amqp.boolean(wish.role === 'receiver'),
          // Settled by who sends, unless asked for: nothing that we are shown is ours to take.
          amqp.ubyte(wish.locks ? 0 : 1),
          amqp.ubyte(0),
          wish.source,
          wish.target,
          amqp.null(),
          amqp.null(),
          wish.role === 'sender' ? amqp.uint(0) : amqp.null(),
        ]);
      });
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  /** Closes it at once; whoever waits is told why. A second call does nothing. */
  end(fault: Fault): void {
    if (this.#end !== undefined) return;
    this.#end = fault;
    clearInterval(this.#beat);
    this.#socket.destroy();
    this.#listener?.reject(fault);
    for (const link of [...this.#links.values()]) this.#linkOver(link, fault);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.open && this.#entered) this.#say(codes.close, []);
    this.end(new Fault('CANCELLED', `the connection to ${this.name} was closed`));
  }

  #freeHandle(): number {
    while (this.#links.has(this.#handles)) this.#handles = (this.#handles + 1) % 65_536;
    return this.#handles;
  }

  #newLink(wish: LinkWish, made: Link['made']): Link {
    const handle = this.#freeHandle();
    const link: Link = {
      name: randomUUID(),
      wish,
      handle,
      credit: 0,
      deliveries: 0,
      parts: [],
      partBytes: 0,
      tag: Buffer.alloc(0),
      draining: false,
      queue: [],
      made,
      detached: false,
      allow: messages => {
        if (link.detached) return;
        link.credit += messages;
        this.#sayFlow(link);
      },
      drain: () => {
        link.draining = true;
        this.#sayFlow(link);
      },
      send: message => {
        if (link.detached) return;
        link.queue.push(message);
        this.#flush(link);
      },
      detach: () => {
        if (link.detached || this.#end !== undefined) return;
        link.detached = true;
        this.#say(codes.detach, [amqp.uint(handle), amqp.boolean(true)]);
      },
    };
    this.#links.set(handle, link);
    this.#byName.set(link.name, link);
    return link;
  }

  #startBeating(theirMs: number): void {
    this.#heardAt = performance.now();
    const everyMs = Math.max(100, Math.min(theirMs === 0 ? silenceMs : theirMs, silenceMs) / 2);
    this.#beat = setInterval(() => {
      if (performance.now() - this.#heardAt > 2 * silenceMs) {
        this.end(
          new Fault('SOURCE_UNREACHABLE', `${this.name} has said nothing for ${(2 * silenceMs) / 1000} s`),
        );
        return;
      }
      this.#socket.write(encodeFrame('amqp', Buffer.alloc(0)));
    }, everyMs);
    this.#beat.unref();
  }

  #say(code: number, fields: readonly Buffer[], payload?: Buffer): void {
    if (this.#end !== undefined) return;
    this.#socket.write(encodeFrame('amqp', amqp.described(code, amqp.list(fields)), payload));
  }

  #sayFlow(link: Link): void {
    this.#say(codes.flow, [
      amqp.uint(this.#nextIn),
      amqp.uint(window),
      amqp.uint(this.#nextOut),
      amqp.uint(window),
      amqp.uint(link.handle),
      amqp.uint(link.deliveries),
      amqp.uint(link.credit),
      amqp.null(),
      amqp.boolean(link.draining),
    ]);
  }

  /** Sends what the link and the session have room for. */
  #flush(link: Link): void {
    while (link.credit > 0 && this.#remoteWindow > 0 && !link.detached) {
      const message = link.queue.shift();
      if (message === undefined) return;
      const id = link.deliveries;
      link.credit -= 1;
      link.deliveries = (link.deliveries + 1) >>> 0;
      const room = this.#remoteFrame - 128;
      for (let at = 0; at === 0 || at < message.length; at += room) {
        const more = at + room < message.length;
        const tag = Buffer.alloc(4);
        tag.writeUInt32BE(id);
        this.#say(
          codes.transfer,
          [
            amqp.uint(link.handle),
            amqp.uint(this.#nextOut),
            amqp.binary(tag),
            amqp.uint(0),
            amqp.boolean(true),
            amqp.boolean(more),
          ],
          message.subarray(at, at + room),
        );
        this.#nextOut = (this.#nextOut + 1) >>> 0;
        this.#remoteWindow -= 1;
      }
    }
  }

  #take(chunk: Buffer): void {
    if (this.#end !== undefined) return;
    this.#heard += 1;
    this.#heardAt = performance.now();
    try {
      for (const said of this.#reader.push(chunk)) {
        const listener = this.#listener;
        this.#listener = undefined;
        if (listener !== undefined) listener.resolve(said);
        else if (!this.#entered) this.#said.push(said);
        else if (said !== 'header') this.#handle(said);
        if (this.#end !== undefined) return;
      }
    } catch (thrown) {
      const { code, message } = faultOf(thrown);
      this.end(new Fault(code, `${this.name} ${message}`, { cause: thrown }));
    }
  }

  async #hearHeader(): Promise<void> {
    if ((await this.#next()) !== 'header') throw this.#strange();
  }

  async #hear(code: number): Promise<AmqpValue> {
    const said = await this.#next();
    if (said === 'header' || said.performative === undefined) throw this.#strange();
    const heard = codeOf(said.performative);
    if (heard === codes.close)
      throw errorFault(this.name, fieldOf(said.performative, 0), 'closed the connection');
    if (heard !== code) throw this.#strange();
    return said.performative;
  }

  #strange(): Fault {
    return new Fault('SOURCE_ANSWER_INVALID', `${this.name} answered with something else than was asked for`);
  }

  #next(): Promise<AmqpFrame | 'header'> {
    const present = this.#said.shift();
    if (present !== undefined) return Promise.resolve(present);
    if (this.#end !== undefined) return Promise.reject(this.#end);
    return new Promise((resolve, reject) => {
      this.#listener = { resolve, reject };
    });
  }

  #handle({ performative, payload }: AmqpFrame): void {
    switch (codeOf(performative)) {
      case codes.attach:
        this.#attached(performative);
        break;
      case codes.flow:
        this.#flowed(performative);
        break;
      case codes.transfer:
        this.#transferred(performative, payload);
        break;
      case codes.detach:
        this.#detached(performative);
        break;
      case codes.end:
      case codes.close:
        this.end(errorFault(this.name, fieldOf(performative, 0), 'closed the connection'));
        break;
      default:
        break;
    }
  }

  #attached(attach: AmqpValue | undefined): void {
    const link = this.#byName.get(String(fieldOf(attach, 0)));
    if (link === undefined) return;
    this.#byName.delete(link.name);
    this.#remote.set(numberOf(fieldOf(attach, 1)), link);
    // Without the end that was asked for it is a refusal, and the reason follows.
    if (fieldOf(attach, link.wish.role === 'receiver' ? 5 : 6) === null) return;
    if (link.wish.role === 'receiver') link.deliveries = numberOf(fieldOf(attach, 9));
    link.made?.resolve(link);
    link.made = undefined;
  }

  #flowed(flow: AmqpValue | undefined): void {
    const seen = fieldOf(flow, 0);
    this.#remoteWindow = (seen === null ? 0 : numberOf(seen) - this.#nextOut) + numberOf(fieldOf(flow, 1));
    const handle = fieldOf(flow, 4);
    const link = handle === null ? undefined : this.#remote.get(numberOf(handle));
    if (link?.wish.role === 'sender') {
      const credit = fieldOf(flow, 6);
      if (credit !== null) link.credit = numberOf(fieldOf(flow, 5)) + numberOf(credit) - link.deliveries;
    }
    if (link?.draining && numberOf(fieldOf(flow, 6)) === 0) {
      // What was allowed and not there is used up.
      link.draining = false;
      link.deliveries = numberOf(fieldOf(flow, 5));
      link.credit = 0;
      link.wish.drained?.();
    }
    for (const each of this.#links.values()) if (each.queue.length > 0) this.#flush(each);
    if (fieldOf(flow, 9) === true && link !== undefined) this.#sayFlow(link);
  }

  #transferred(transfer: AmqpValue | undefined, payload: Buffer): void {
    this.#nextIn = (this.#nextIn + 1) >>> 0;
    const link = this.#remote.get(numberOf(fieldOf(transfer, 0)));
    if (link === undefined || link.detached) return;
    const tag = fieldOf(transfer, 2);
    if (Buffer.isBuffer(tag)) link.tag = Buffer.from(tag);
    // Copied, or a few bytes would hold on to all that arrived with them.
    link.parts.push(Buffer.from(payload));
    link.partBytes += payload.length;
    if (link.partBytes > mostMessageBytes) {
      throw new Fault('SOURCE_ANSWER_TOO_LARGE', `sent a message of more than ${mostMessageBytes} bytes`);
    }
    if (fieldOf(transfer, 5) === true) return;
    const message = Buffer.concat(link.parts);
    link.parts = [];
    link.partBytes = 0;
    if (fieldOf(transfer, 9) === true) return;
    link.credit -= 1;
    link.deliveries = (link.deliveries + 1) >>> 0;
    const id = fieldOf(transfer, 1);
    if (!link.wish.locks && fieldOf(transfer, 4) !== true && id !== null) this.#accept(numberOf(id));
    link.wish.take?.(message, link.tag);
  }

  #accept(id: number): void {
    this.#say(codes.disposition, [
      amqp.boolean(true),
      amqp.uint(id),
      amqp.uint(id),
      amqp.boolean(true),
      amqp.described(codes.accepted, amqp.list([])),
    ]);
  }

  #detached(detach: AmqpValue | undefined): void {
    const handle = numberOf(fieldOf(detach, 0));
    const link = this.#remote.get(handle);
    if (link === undefined) return;
    this.#remote.delete(handle);
    link.detach();
    this.#linkOver(link, errorFault(this.name, fieldOf(detach, 2), 'ended the link'));
  }

  #linkOver(link: Link, fault: Fault): void {
    this.#links.delete(link.handle);
    this.#byName.delete(link.name);
    link.detached = true;
    link.made?.reject(fault);
    link.made = undefined;
    link.wish.over?.(fault);
  }
}

const numberOf = (value: AmqpValue): number => (typeof value === 'number' ? value : 0);

/** What Azure's conditions mean; others are a failure. */
export const conditions: Readonly<Record<string, FaultCode>> = {
  'amqp:unauthorized-access': 'SOURCE_REFUSED',
  'amqp:not-allowed': 'SOURCE_REFUSED',
  'amqp:not-found': 'SOURCE_NOT_FOUND',
  'com.microsoft:argument-out-of-range': 'SOURCE_NOT_FOUND',
  'com.microsoft:server-busy': 'SOURCE_BUSY',
  'com.microsoft:message-lock-lost': 'MESSAGE_LOST',
  'com.microsoft:message-not-found': 'MESSAGE_LOST',
  'amqp:resource-limit-exceeded': 'SOURCE_BUSY',
  'amqp:connection:forced': 'SOURCE_UNREACHABLE',
  'amqp:link:detach-forced': 'SOURCE_UNREACHABLE',
};

/** The Fault that an error of the other side stands for; `what` is said where there is none. */
export function errorFault(name: string, error: AmqpValue, what: string): Fault {
  const condition = fieldOf(error, 0);
  if (typeof condition !== 'string') return new Fault('SOURCE_UNREACHABLE', `${name} ${what}`);
  const description = fieldOf(error, 1);
  // What follows the first line or the tracking id differs each time.
  const text = typeof description === 'string' ? (description.split(/\n|\.? ?TrackingId:/)[0] ?? '') : '';
  const detail = text === '' ? condition : `${condition}: ${text}`;
  return new Fault(conditions[condition] ?? 'SOURCE_FAILED', `${name} answered ${detail.slice(0, 300)}`);
}
