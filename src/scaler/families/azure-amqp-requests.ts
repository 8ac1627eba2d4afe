import { randomUUID } from 'node:crypto';
import { Fault, type FaultCode } from '../../base/errors.ts';
import { networkFault } from '../../base/http.ts';
import { type AmqpConnection, type AmqpLinkEnd, conditions } from './azure-amqp.ts';
import { type AmqpMessage, codes, decodeMessage, encodeRequest } from './azure-amqp-frames.ts';
import { amqp, fieldOf } from './azure-amqp-types.ts';

/** A question to a node: its properties, and a body where it has one. */
export interface AmqpQuestion {
  properties: Readonly<Record<string, string | number>>;
  body?: Buffer;
  /** What it is about, for sentences. */
  what: string;
}

interface Waiting {
  what: string;
  resolve(message: AmqpMessage): void;
  reject(fault: Fault): void;
}

/** A node that answers requests, such as `$cbs` or `$management`, over one pair of links. */
export class AmqpRequests {
  readonly #connection: AmqpConnection;
  readonly #node: string;
  readonly #waiting = new Map<string, Waiting>();
  #links: Promise<Pair> | undefined;
  #asked = 0;

  constructor(connection: AmqpConnection, node: string) {
    this.#connection = connection;
    this.#node = node;
  }

  /**
   * Resolves with a good answer.
   *
   * @throws Fault by the status of the answer: SOURCE_REFUSED, SOURCE_NOT_FOUND, SOURCE_BUSY, SOURCE_FAILED; those of
   *   the connection
   */
  async ask(
    { properties, body = amqp.null(), what }: AmqpQuestion,
    signal: AbortSignal,
  ): Promise<AmqpMessage> {
    const pair = await this.#pair(signal);
    this.#asked += 1;
    const id = String(this.#asked);
    const heard = this.#connection.heard;
    let stop = () => {};
    try {
      return await new Promise<AmqpMessage>((resolve, reject) => {
        this.#waiting.set(id, { what, resolve, reject });
        stop = () => {
          const fault = networkFault(signal.reason, this.#connection.name, signal);
          reject(fault);
          // Who says nothing at all is gone: the next one connects anew.
          if (this.#connection.heard === heard) this.#connection.end(fault);
        };
        if (signal.aborted) return stop();
        signal.addEventListener('abort', stop, { once: true });
        pair.receiver.allow(1);
        pair.sender.send(encodeRequest({ id, replyTo: pair.replyTo, properties, body }));
      });
    } finally {
      this.#waiting.delete(id);
      signal.removeEventListener('abort', stop);
    }
  }

  /** One pair for all who ask; who gives up waiting for it does not take it from the others. */
  #pair(signal: AbortSignal): Promise<Pair> {
    const present = this.#links;
    if (present !== undefined) return orStopped(present, signal, this.#connection.name);
    const made = this.#make(signal);
    this.#links = made;
    made.catch(() => {
      if (this.#links === made) this.#links = undefined;
    });
    return made;
  }

  async #make(signal: AbortSignal): Promise<Pair> {
    const replyTo = `${this.#node}-${randomUUID()}`;
    const address = (text: string) => amqp.list([amqp.string(text)]);
    const ends: AmqpLinkEnd[] = [];
    const over = (fault: Fault) => {
      this.#links = undefined;
      for (const end of ends) end.detach();
      for (const { reject } of this.#waiting.values()) reject(fault);
    };
    const keep = (end: AmqpLinkEnd) => {
      ends.push(end);
      return end;
    };
    const sender = this.#connection.attach(
      {
        role: 'sender',
        source: amqp.described(codes.source, address(replyTo)),
        target: amqp.described(codes.target, address(this.#node)),
        over,
      },
      signal,
    );
    const receiver = this.#connection.attach(
      {
        role: 'receiver',
        source: amqp.described(codes.source, address(this.#node)),
        target: amqp.described(codes.target, address(replyTo)),
        take: message => this.#answered(decodeMessage(message)),
        over,
      },
      signal,
    );
    try {
      const [first, second] = await Promise.all([sender.then(keep), receiver.then(keep)]);
      return { sender: first, receiver: second, replyTo };
    } catch (thrown) {
      for (const end of ends) end.detach();
      throw thrown;
    }
  }

  #answered(message: AmqpMessage): void {
    const waiting = this.#waiting.get(String(fieldOf(message.properties, 5)));
    if (waiting === undefined) return;
    const said = message.applicationProperties;
    const status = said.get('status-code') ?? said.get('statusCode');
    if (typeof status !== 'number') {
      const sentence = `${waiting.what} was answered without a status`;
      waiting.reject(new Fault('SOURCE_ANSWER_INVALID', sentence));
    } else if (status >= 200 && status < 300) {
      waiting.resolve(message);
    } else {
      const description = said.get('status-description') ?? said.get('statusDescription');
      const [line = ''] = String(description ?? '').split(/\n|\.? ?TrackingId:/);
      const sentence = `${waiting.what} answered ${status}: ${line.slice(0, 300)}`;
      const condition = String(said.get('errorCondition') ?? said.get('error-condition'));
      waiting.reject(new Fault(conditions[condition] ?? statusCodes[status] ?? 'SOURCE_FAILED', sentence));
    }
  }
}

interface Pair {
  sender: AmqpLinkEnd;
  receiver: AmqpLinkEnd;
  replyTo: string;
}

const statusCodes: Readonly<Record<number, FaultCode>> = {
  401: 'SOURCE_REFUSED',
  403: 'SOURCE_REFUSED',
  404: 'SOURCE_NOT_FOUND',
  429: 'SOURCE_BUSY',
  503: 'SOURCE_BUSY',
};

/** What `work` comes to, or that it was not waited for any longer; nothing is left on a signal that lives on. */
async function orStopped<T>(work: Promise<T>, signal: AbortSignal, name: string): Promise<T> {
  let stop = () => {};
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(networkFault(signal.reason, name, signal));
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([work, stopped]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
