import type { Socket } from 'node:net';
import { Fault } from '../../base/errors.ts';
import { networkFault } from '../../base/http.ts';
import { type Secret, withoutSecrets } from '../../base/secret.ts';
import { AmqpChannel } from './rabbitmq-channel.ts';
import {
  encodeFrame,
  encodeMethod,
  type Frame,
  FrameReader,
  frameMax,
  frameTypes,
  methods,
  protocolHeader,
  Reader,
  tableFlags,
  tableText,
  type Writer,
} from './rabbitmq-wire.ts';
import { type Address, joinHostPort, openSocket, type Way } from './socket.ts';

/** How to come in. */
export interface AmqpEntry extends Way {
  vhost: string;
  /** Without it the client certificate says who we are (SASL EXTERNAL). */
  login: { username: string; password: Secret } | undefined;
  /** What the owner of the broker sees among the connections. */
  connectionName: string;
}

/** One connection to a broker, with as many channels as are asked for. */
export interface AmqpLink extends AsyncDisposable {
  /** `host:port`, with the virtual host where it is not `/`. */
  readonly name: string;
  /** False once the broker or we have closed it; then it stays closed. */
  readonly open: boolean;
  /** Why the broker takes no messages at the moment, in its words. */
  readonly blocked: string | undefined;
  /** @throws Fault SOURCE_…, or CANCELLED; SOURCE_BUSY where there are as many as the broker allows */
  channel(signal: AbortSignal): Promise<AmqpChannel>;
}

/** Seconds. Half as often something is said, so that both sides notice a peer that vanished in less than a minute. */
const heartbeat = 20;

/** How long closing waits for the broker to agree, in milliseconds. */
const closingMs = 1000;

const capabilities = [
  'authentication_failure_close',
  'basic.nack',
  'connection.blocked',
  'publisher_confirms',
];

/**
 * Connects, logs in and enters the virtual host.
 *
 * @throws Fault SOURCE_UNREACHABLE, SOURCE_REFUSED, SOURCE_NOT_FOUND, SOURCE_TIMEOUT…; no message holds a credential
 */
export async function connectAmqp(
  address: Address,
  entry: AmqpEntry,
  signal: AbortSignal,
): Promise<AmqpLink> {
  const socket = await openSocket(address, entry, signal);
  const place = joinHostPort(address.host, address.port);
  const link = new Link(socket, entry.vhost === '/' ? place : `${place}/${entry.vhost}`);
  const stop = () => link.end(networkFault(signal.reason, place, signal));
  signal.addEventListener('abort', stop, { once: true });
  try {
    if (signal.aborted) stop();
    await link.enter(entry);
    return link;
  } catch (thrown) {
    link.end(thrown as Fault);
    throw thrown;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

class Link implements AmqpLink {
  readonly name: string;
  blocked: string | undefined;
  readonly #socket: Socket;
  readonly #reader = new FrameReader();
  readonly #channels = new Map<number, AmqpChannel>();
  /** What was said to the connection itself, and who waits for it. */
  readonly #said: [number, Reader][] = [];
  #listener: { resolve(said: [number, Reader]): void; reject(fault: Fault): void } | undefined;
  #end: Fault | undefined;
  #secrets: readonly string[] = [];
  #mostChannels = 0;
  #entered = false;
  #beat: NodeJS.Timeout | undefined;
  #sent = true;
  #silentBeats = 0;

  constructor(socket: Socket, name: string) {
    this.name = name;
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', thrown => this.end(networkFault(thrown, name)));
    socket.on('close', () => this.end(new Fault('SOURCE_UNREACHABLE', `${name} closed the connection`)));
  }

  get open(): boolean {
    return this.#end === undefined;
  }

  /** The handshake. */
  async enter({ vhost, login, connectionName }: AmqpEntry): Promise<void> {
    this.#socket.write(protocolHeader);
    const start = await this.#hear(methods.connectionStart);
    start.raw(2);
    start.long();
    const offered = start.long().toString().split(' ');
    const mechanism = login === undefined ? 'EXTERNAL' : 'PLAIN';
    if (!offered.includes(mechanism)) {
      throw new Fault(
        'SOURCE_REFUSED',
        `${this.name} offers no login by ${mechanism}, only ${offered.join(', ')}`,
      );
    }
    const password = login?.password.reveal() ?? '';
    this.#secrets = [password];
    this.#say(methods.connectionStartOk, writer => {
      writer.table([
        ['product', tableText('Eventide')],
        ['platform', tableText('Node.js')],
        ['connection_name', tableText(connectionName)],
        ['capabilities', tableFlags(capabilities)],
      ]);
      writer.short(mechanism);
      writer.long(Buffer.from(login === undefined ? '' : `\0${login.username}\0${password}`));
      writer.short('en_US');
    });
    const tune = await this.#hear(methods.connectionTune);
    const channels = tune.u16();
    const size = tune.u32();
    const offeredBeat = tune.u16();
    this.#mostChannels = channels === 0 ? 65_535 : channels;
    const beat = offeredBeat === 0 ? 0 : Math.min(offeredBeat, heartbeat);
    this.#say(methods.connectionTuneOk, writer => {
      writer.u16(channels);
      writer.u32(size === 0 ? frameMax : Math.min(size, frameMax));
      writer.u16(beat);
    });
    this.#say(methods.connectionOpen, writer => {
      writer.short(vhost);
      writer.short('');
      writer.u8(0);
    });
    await this.#hear(methods.connectionOpenOk);
    this.#entered = true;
    if (beat > 0) this.#startBeating(beat);
  }

  async channel(signal: AbortSignal): Promise<AmqpChannel> {
    if (signal.aborted) throw networkFault(signal.reason, this.name, signal);
    if (this.#end !== undefined) throw this.#end;
    let number = 1;
    while (this.#channels.has(number)) number += 1;
    if (number > this.#mostChannels) {
      throw new Fault('SOURCE_BUSY', `${this.name} allows no more than ${this.#mostChannels} channels`);
    }
    const channel = new AmqpChannel({
      number,
      name: this.name,
      write: frames => this.#write(frames),
      over: () => void this.#channels.delete(number),
      faultOf: (code, text) => this.#closeFault(code, text),
    });
    this.#channels.set(number, channel);
    const stop = () => channel.close();
    signal.addEventListener('abort', stop, { once: true });
    try {
      await channel.call(methods.channelOpen, writer => writer.short(''));
      return channel;
    } catch (thrown) {
      throw signal.aborted ? networkFault(thrown, this.name, signal) : thrown;
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  /** Closes at once, without a word. */
  end(fault: Fault): void {
    if (this.#end !== undefined) return;
    this.#end = fault;
    clearInterval(this.#beat);
    this.#socket.destroy();
    this.#listener?.reject(fault);
    for (const channel of [...this.#channels.values()]) channel.ended(fault);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Fault('CANCELLED', `the connection to ${this.name} was closed`);
    if (!this.open || !this.#entered) return this.end(closed);
    this.#say(methods.connectionClose, writer => {
      writer.u16(200);
      writer.short('');
      writer.u32(0);
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>(resolve => {
      timer = setTimeout(resolve, closingMs);
    });
    await Promise.race([late, this.#hear(methods.connectionCloseOk).catch(() => undefined)]);
    clearTimeout(timer);
    this.end(closed);
  }

  #startBeating(seconds: number): void {
    this.#beat = setInterval(() => {
      this.#silentBeats += 1;
      if (this.#silentBeats > 4) {
        this.end(new Fault('SOURCE_UNREACHABLE', `${this.name} has said nothing for ${2 * seconds} s`));
        return;
      }
      if (!this.#sent) this.#write([encodeFrame(frameTypes.heartbeat, 0, new Uint8Array())]);
      this.#sent = false;
    }, seconds * 500);
    this.#beat.unref();
  }

  #write(frames: readonly Uint8Array[]): void {
    if (this.#end !== undefined) return;
    this.#sent = true;
    this.#socket.cork();
    for (const frame of frames) this.#socket.write(frame);
    this.#socket.uncork();
  }

  #say(method: number, args: (writer: Writer) => void): void {
    this.#write([encodeMethod(0, method, args)]);
  }

  /** Waits for a method of the connection itself. */
  async #hear(method: number): Promise<Reader> {
    for (;;) {
      const [said, args] = await this.#next();
      if (said === method) return args;
      // Whatever was under way when we decided to close.
      if (method === methods.connectionCloseOk) continue;
      throw new Fault(
        'SOURCE_ANSWER_INVALID',
        `${this.name} answered with something else than was asked for`,
      );
    }
  }

  #next(): Promise<[number, Reader]> {
    const present = this.#said.shift();
    if (present !== undefined) return Promise.resolve(present);
    if (this.#end !== undefined) return Promise.reject(this.#end);
    return new Promise((resolve, reject) => {
      this.#listener = { resolve, reject };
    });
  }

  #take(chunk: Buffer): void {
    if (this.#end !== undefined) return;
    this.#silentBeats = 0;
    try {
      for (const frame of this.#reader.push(chunk)) {
        if (frame.channel === 0) this.#takeOwn(frame);
        else this.#channels.get(frame.channel)?.take(frame);
      }
    } catch (thrown) {
      const { code = 'INTERNAL', message } = thrown as Partial<Fault>;
      this.end(new Fault(code, `${this.name} ${message}`, { cause: thrown }));
    }
  }

  #takeOwn({ type, payload }: Frame): void {
    if (type !== frameTypes.method) return;
    const args = new Reader(payload);
    const method = args.u32();
    switch (method) {
      case methods.connectionClose: {
        const fault = this.#closeFault(args.u16(), args.short());
        this.#say(methods.connectionCloseOk, () => {});
        this.end(fault);
        break;
      }
      case methods.connectionBlocked:
        this.blocked = args.short();
        break;
      case methods.connectionUnblocked:
        this.blocked = undefined;
        break;
      default: {
        const listener = this.#listener;
        this.#listener = undefined;
        if (listener !== undefined) listener.resolve([method, args]);
        // It may come before it is waited for, but only during the handshake.
        else if (!this.#entered) this.#said.push([method, args]);
      }
    }
  }

  /** The Fault that a broker's reason for closing a connection or channel stands for. */
  #closeFault(code: number, text: string): Fault {
    const message = `${this.name} answered: ${withoutSecrets(text, this.#secrets).slice(0, 200)}`;
    switch (code) {
      case 320:
        return new Fault('SOURCE_UNREACHABLE', message);
      case 403:
        return new Fault('SOURCE_REFUSED', message);
      case 404:
        return new Fault('SOURCE_NOT_FOUND', message);
      case 530:
        // One code for all that has to do with the virtual host.
        if (text.includes('not found')) return new Fault('SOURCE_NOT_FOUND', message);
        return new Fault(text.includes('limit') ? 'SOURCE_BUSY' : 'SOURCE_REFUSED', message);
      default:
        return new Fault('SOURCE_FAILED', message);
    }
  }
}
