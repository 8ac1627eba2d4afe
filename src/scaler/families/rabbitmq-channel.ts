import { Fault } from '../../base/errors.ts';
import {
  encodeContent,
  encodeMethod,
  type Frame,
  frameTypes,
  methods,
  type Properties,
  Reader,
  readContentHeader,
  type Writer,
} from './rabbitmq-wire.ts';

/** What a channel needs of its connection. */
export interface ChannelHost {
  number: number;
  /** Names the broker in sentences. */
  name: string;
  write(frames: readonly Uint8Array[]): void;
  /** The number is free again. */
  over(): void;
  faultOf(code: number, text: string): Fault;
}

/** An answer of the broker, with the message where it brings one. */
export interface Answer {
  method: number;
  args: Reader;
  message?: { properties: Properties; body: Buffer };
}

export interface Publication {
  /** Of the default exchange, so the name of a queue. */
  routingKey: string;
  properties: Properties;
  body: Uint8Array;
}

interface Waiting {
  method: number;
  resolve(answer: Answer): void;
  reject(fault: Fault): void;
}

interface Incoming {
  answer: Answer;
  properties: Properties | undefined;
  bodySize: number;
  size: number;
  chunks: Buffer[];
}

/** RabbitMQ takes no larger message, whatever its settings. */
const mostBodyBytes = 512 * 1024 * 1024;

/**
 * One channel. Calls are sent at once and answered in their order. The broker closes a channel on the first thing
 * that it cannot do: then the call that was at fault fails with `fault`, and those behind it were not heard.
 */
export class AmqpChannel {
  readonly #host: ChannelHost;
  readonly #line: Waiting[] = [];
  #incoming: Incoming | undefined;
  #closing = false;
  #fault: Fault | undefined;
  #confirmed: { resolve(): void; reject(fault: Fault): void } | undefined;
  #returned: string | undefined;

  /** Made by its connection, which opens it. */
  constructor(host: ChannelHost) {
    this.#host = host;
  }

  get open(): boolean {
    return this.#fault === undefined && !this.#closing;
  }

  /** Why it was closed. */
  get fault(): Fault | undefined {
    return this.#fault;
  }

  /** @throws Fault of the broker, of the connection, or CANCELLED where we closed the channel */
  call(method: number, args: (writer: Writer) => void): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (!this.open) {
        reject(this.#fault ?? this.#closed());
        return;
      }
      const frame = encodeMethod(this.#host.number, method, args);
      this.#line.push({ method, resolve, reject });
      this.#host.write([frame]);
    });
  }

  /** Says something that has no answer. */
  tell(method: number, args: (writer: Writer) => void): void {
    if (this.open) this.#host.write([encodeMethod(this.#host.number, method, args)]);
  }

  /**
   * Publishes and waits until the broker has the message; one at a time, on a channel with confirms.
   *
   * @throws Fault SOURCE_NOT_FOUND where no queue takes it, SOURCE_FAILED where the broker does not
   */
  publish({ routingKey, properties, body }: Publication): Promise<void> {
    return new Promise((resolve, reject) => {
      if (!this.open) {
        reject(this.#fault ?? this.#closed());
        return;
      }
      this.#returned = undefined;
      this.#confirmed = { resolve, reject };
      const method = encodeMethod(this.#host.number, methods.basicPublish, writer => {
        writer.u16(0);
        writer.short('');
        writer.short(routingKey);
        // Mandatory: what no queue takes comes back instead of being dropped.
        writer.u8(1);
      });
      this.#host.write([method, ...encodeContent(this.#host.number, properties, body)]);
    });
  }

  /** Lets the broker have back what was not settled. */
  close(): void {
    if (!this.open) return;
    this.tell(methods.channelClose, writer => {
      writer.u16(200);
      writer.short('');
      writer.u32(0);
    });
    this.#closing = true;
    this.#rejectAll(this.#closed());
  }

  /** The connection has ended. */
  ended(fault: Fault): void {
    this.#fault ??= fault;
    this.#host.over();
    this.#rejectAll(fault);
  }

  /** @throws Fault SOURCE_ANSWER_INVALID for frames out of place */
  take(frame: Frame): void {
    if (frame.type === frameTypes.method) this.#takeMethod(new Reader(frame.payload));
    else if (frame.type === frameTypes.header || frame.type === frameTypes.body) this.#takeContent(frame);
  }

  #takeMethod(args: Reader): void {
    const method = args.u32();
    if (method === methods.channelCloseOk) {
      this.#fault ??= this.#closed();
      this.#host.over();
    } else if (method === methods.channelClose) {
      this.#closedByBroker(args);
    } else if (this.#closing) {
      return;
    } else if (method === methods.basicGetOk || method === methods.basicReturn) {
      const answer = { method, args };
      this.#incoming = { answer, properties: undefined, bodySize: 0, size: 0, chunks: [] };
    } else if (method === methods.basicAck || method === methods.basicNack) {
      this.#confirm(method === methods.basicAck);
    } else {
      this.#answer({ method, args });
    }
  }

  #closedByBroker(args: Reader): void {
    const fault = this.#host.faultOf(args.u16(), args.short());
    const culprit = args.u32();
    this.#host.write([encodeMethod(this.#host.number, methods.channelCloseOk, () => {})]);
    this.#fault ??= fault;
    this.#host.over();
    const first = this.#line[0];
    if (first?.method === culprit) {
      this.#line.shift();
      first.reject(fault);
    }
    this.#confirmed?.reject(fault);
    this.#confirmed = undefined;
    this.#rejectAll(this.#closed());
  }

  #takeContent({ type, payload }: Frame): void {
    if (this.#closing) return;
    const incoming = this.#incoming;
    if (incoming === undefined) {
      throw new Fault('SOURCE_ANSWER_INVALID', 'sent a message that nobody had asked for');
    }
    if (type === frameTypes.header) {
      const { bodySize, properties } = readContentHeader(payload);
      if (bodySize > mostBodyBytes) {
        throw new Fault('SOURCE_ANSWER_TOO_LARGE', `sent a message of ${bodySize} bytes`);
      }
      incoming.bodySize = bodySize;
      incoming.properties = properties;
    } else {
      // Copied: a frame is a part of a chunk, and a small message must not keep all of it.
      incoming.chunks.push(Buffer.from(payload));
      incoming.size += payload.length;
    }
    const { properties, bodySize, size, chunks, answer } = incoming;
    if (properties === undefined || size < bodySize) return;
    this.#incoming = undefined;
    if (answer.method === methods.basicReturn) {
      answer.args.u16();
      this.#returned = answer.args.short();
      return;
    }
    this.#answer({ ...answer, message: { properties, body: Buffer.concat(chunks) } });
  }

  #answer(answer: Answer): void {
    const first = this.#line.shift();
    if (first === undefined) throw new Fault('SOURCE_ANSWER_INVALID', 'answered what nobody had asked');
    first.resolve(answer);
  }

  #confirm(taken: boolean): void {
    const waiting = this.#confirmed;
    this.#confirmed = undefined;
    const { name } = this.#host;
    if (this.#returned !== undefined) {
      waiting?.reject(new Fault('SOURCE_NOT_FOUND', `${name} has no queue for a message: ${this.#returned}`));
    } else if (taken) {
      waiting?.resolve();
    } else {
      waiting?.reject(new Fault('SOURCE_FAILED', `${name} did not take a message`));
    }
  }

  #rejectAll(fault: Fault): void {
    for (const waiting of this.#line.splice(0)) waiting.reject(fault);
    this.#confirmed?.reject(fault);
    this.#confirmed = undefined;
  }

  #closed(): Fault {
    return new Fault('CANCELLED', `a channel to ${this.#host.name} was closed`);
  }
}
