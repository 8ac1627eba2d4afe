import { Fault } from '../../base/errors.ts';
import { networkFault } from '../../base/http.ts';
import type { AmqpLinkEnd } from './azure-amqp.ts';
import { bodyBytes } from './azure-amqp-body.ts';
import { type AmqpMessage, codes, decodeMessage } from './azure-amqp-frames.ts';
import type { AmqpNamespace, Asking } from './azure-amqp-session.ts';
import { amqp, fieldOf } from './azure-amqp-types.ts';

/** A message that is locked for us. */
export interface LockedMessage {
  /** The same at every delivery, and never given to another message of the queue, even one that is made anew. */
  id: string;
  body: Uint8Array;
  lock: MessageLock;
  /** This delivery included. */
  deliveryCount: number;
  /** Epoch milliseconds. */
  enqueuedAt: number | undefined;
  lockedUntil: number;
}

/** All that is needed to settle a message, by any process that may use the queue. */
export interface MessageLock {
  /** The number of the message among all of its queue. */
  sequence: bigint;
  /** A UUID. */
  token: string;
}

/** What becomes of a locked message. */
export type Disposition =
  | { status: 'completed' | 'abandoned' }
  | { status: 'suspended'; reason: string; description: string };

interface Receiver {
  link: AmqpLinkEnd;
  taken: LockedMessage[];
  /** Tells that something changed: a message came, all were shown, or the link ended. */
  changed: () => void;
  drained: boolean;
  fault: Fault | undefined;
}

/** Messages that lie ready arrive one after another; once none did for so long, there are no more. */
const quietMs = 250;

/** Takes and settles the messages of queues and subscriptions of one namespace over AMQP. */
export class BusMessages {
  readonly #namespace: AmqpNamespace;
  readonly #host: string;
  /** By path. A link stays attached while the server lets it: who knows what a broker does to the locks of one that ends. */
  readonly #receivers = new Map<string, Receiver>();
  /** The claim that is under way, by path. */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(namespace: AmqpNamespace, host: string) {
    this.#namespace = namespace;
    this.#host = host;
  }

  /**
   * Locks as many messages as there are ready, and at most `most`.
   *
   * @throws Fault of the source; NOT_SUPPORTED for a queue that hands out its messages session by session
   */
  async take(path: string, most: number, asking: Asking): Promise<LockedMessage[]> {
    const before = this.#turns.get(path) ?? Promise.resolve();
    const turn = before.then(
      () => this.#take(path, most, asking),
      () => this.#take(path, most, asking),
    );
    this.#turns.set(path, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(path) === turn) this.#turns.delete(path);
    }
  }

  /**
   * Locks a message for another period of its queue.
   *
   * @returns until when, epoch milliseconds
   * @throws Fault MESSAGE_LOST where the lock is over, and those of the source
   */
  async renew(path: string, { token }: MessageLock, asking: Asking): Promise<number> {
    const properties = { operation: 'com.microsoft:renew-lock' };
    const body = amqp.map([amqp.string('lock-tokens'), amqp.uuids([token])]);
    const answer = await this.#manage(path, { properties, body }, asking);
    const expirations = answer.body instanceof Map ? answer.body.get('expirations') : undefined;
    const [until] = Array.isArray(expirations) ? expirations : [];
    if (until instanceof Date) return until.getTime();
    throw new Fault(
      'SOURCE_ANSWER_INVALID',
      `${this.#nameOf(path)} does not say until when a message is locked`,
    );
  }

  /**
   * Settles a message. One that is not in its queue any more was settled before, as by a process that died before it
   * heard so: of that the lock alone says no more than that it is over.
   *
   * @throws Fault MESSAGE_LOST where the lock is over, and those of the source
   */
  async settle(path: string, lock: MessageLock, disposition: Disposition, asking: Asking): Promise<void> {
    try {
      await this.#dispose(path, lock, disposition, asking);
    } catch (thrown) {
      const lost = thrown instanceof Fault && thrown.code === 'MESSAGE_LOST';
      if (!lost || (await this.#isThere(path, lock, asking))) throw thrown;
    }
  }

  /** Whether the message is in its queue, locked or not. */
  async #isThere(path: string, { sequence }: MessageLock, asking: Asking): Promise<boolean> {
    const properties = { operation: 'com.microsoft:peek-message' };
    const body = amqp.map([
      amqp.string('from-sequence-number'),
      amqp.long(sequence),
      amqp.string('message-count'),
      amqp.int(1),
    ]);
    const answer = await this.#manage(path, { properties, body }, asking);
    const messages = answer.body instanceof Map ? answer.body.get('messages') : undefined;
    if (messages === undefined || messages === null) return false;
    const [first] = Array.isArray(messages) ? messages : [null];
    if (first === undefined) return false;
    const bytes = first instanceof Map ? first.get('message') : undefined;
    if (Buffer.isBuffer(bytes)) return numberOf(decodeMessage(bytes)) === sequence;
    throw new Fault('SOURCE_ANSWER_INVALID', `${this.#nameOf(path)} does not say which messages it has`);
  }

  async #dispose(
    path: string,
    { token }: MessageLock,
    disposition: Disposition,
    asking: Asking,
  ): Promise<void> {
    const pairs = [
      amqp.string('disposition-status'),
      amqp.string(disposition.status),
      amqp.string('lock-tokens'),
      amqp.uuids([token]),
    ];
    if (disposition.status === 'suspended') {
      const { reason, description } = disposition;
      pairs.push(amqp.string('deadletter-reason'), amqp.string(reason));
      pairs.push(amqp.string('deadletter-description'), amqp.string(description));
    }
    const properties = { operation: 'com.microsoft:update-disposition' };
    await this.#manage(path, { properties, body: amqp.map(pairs) }, asking);
  }

  #nameOf(path: string): string {
    return `${this.#host}/${path}`;
  }

  async #manage(
    path: string,
    request: { properties: Readonly<Record<string, string>>; body: Buffer },
    asking: Asking,
  ): Promise<AmqpMessage> {
    const node = `${path}/$management`;
    const question = { ...request, what: this.#nameOf(path) };
    return await this.#namespace.ask({ node, entity: node }, () => question, asking);
  }

  async #take(path: string, most: number, asking: Asking): Promise<LockedMessage[]> {
    const receiver = await this.#receiver(path, asking);
    receiver.drained = false;
    receiver.link.allow(most);
    try {
      while (receiver.taken.length < most && (await this.#comes(receiver, quietMs, asking.signal)));
      if (receiver.taken.length < most && receiver.fault === undefined) {
        receiver.link.drain();
        while (!receiver.drained && (await this.#comes(receiver, undefined, asking.signal)));
      }
    } catch (thrown) {
      // How many more will come is not known.
      this.#receivers.delete(path);
      receiver.link.detach();
      if (receiver.taken.length === 0) throw thrown;
    }
    const taken = receiver.taken.splice(0);
    // What is locked for us is ours, whatever came after; the next claim meets the fault.
    if (taken.length === 0 && receiver.fault !== undefined) throw receiver.fault;
    return taken;
  }

  /** Waits for something to change; false where nothing does for so long, or the link is over. */
  #comes(receiver: Receiver, ms: number | undefined, signal: AbortSignal): Promise<boolean> {
    if (receiver.fault !== undefined) return Promise.resolve(false);
    return new Promise((resolve, reject) => {
      const timer = ms === undefined ? undefined : setTimeout(() => over(() => resolve(false)), ms);
      const over = (then: () => void) => {
        clearTimeout(timer);
        signal.removeEventListener('abort', stop);
        receiver.changed = () => {};
        then();
      };
      const stop = () => over(() => reject(networkFault(signal.reason, this.#host, signal)));
      receiver.changed = () => over(() => resolve(receiver.fault === undefined));
      if (signal.aborted) stop();
      else signal.addEventListener('abort', stop, { once: true });
    });
  }

  async #receiver(path: string, asking: Asking): Promise<Receiver> {
    // Every time: a link ends with the token that it was made with.
    const connection = await this.#namespace.authorized(path, asking);
    const present = this.#receivers.get(path);
    if (present !== undefined) return present;
    const receiver: Omit<Receiver, 'link'> = {
      taken: [],
      changed: () => {},
      drained: false,
      fault: undefined,
    };
    const wish = {
      role: 'receiver',
      locks: true,
      source: amqp.described(codes.source, amqp.list([amqp.string(path)])),
      target: amqp.described(codes.target, amqp.list([amqp.string('eventide')])),
      take: (bytes: Buffer, tag: Buffer) => {
        receiver.taken.push(lockedMessage(decodeMessage(bytes), tag));
        receiver.changed();
      },
      drained: () => {
        receiver.drained = true;
        receiver.changed();
      },
      over: (fault: Fault) => {
        receiver.fault = this.#explained(fault, path);
        if (this.#receivers.get(path) === receiver) this.#receivers.delete(path);
        receiver.changed();
      },
    } as const;
    try {
      const whole: Receiver = Object.assign(receiver, { link: await connection.attach(wish, asking.signal) });
      if (whole.fault !== undefined) throw whole.fault;
      this.#receivers.set(path, whole);
      return whole;
    } catch (thrown) {
      throw thrown instanceof Fault ? this.#explained(thrown, path) : thrown;
    }
  }

  #explained(fault: Fault, path: string): Fault {
    if (fault.code !== 'SOURCE_REFUSED' || !/session/i.test(fault.message)) return fault;
    const sentence = `${this.#nameOf(path)} requires sessions, whose messages cannot be delivered one by one`;
    return new Fault('NOT_SUPPORTED', sentence, { cause: fault });
  }
}

/** @throws Fault whose message continues a sentence that begins with the server's name */
function lockedMessage(message: AmqpMessage, tag: Buffer): LockedMessage {
  const { annotations, header, body } = message;
  const sequence = numberOf(message);
  const enqueued = annotations.get('x-opt-enqueued-time');
  const until = annotations.get('x-opt-locked-until');
  if (tag.length !== 16 || sequence === undefined || !(until instanceof Date)) {
    throw new Fault('SOURCE_ANSWER_INVALID', 'handed out a message without its number or its lock');
  }
  const enqueuedAt = enqueued instanceof Date ? enqueued.getTime() : undefined;
  const failed = fieldOf(header, 4);
  return {
    // Numbers begin anew in a queue that is made anew, and times may be the same: both together are one message's.
    id: enqueuedAt === undefined ? String(sequence) : `${sequence}-${enqueuedAt}`,
    body: bodyBytes(body),
    lock: { sequence, token: tokenText(tag) },
    deliveryCount: typeof failed === 'number' ? failed + 1 : 1,
    enqueuedAt,
    lockedUntil: until.getTime(),
  };
}

function numberOf({ annotations }: AmqpMessage): bigint | undefined {
  const sequence = annotations.get('x-opt-sequence-number');
  return typeof sequence === 'bigint' ? sequence : undefined;
}

/** The tag is a UUID with the bytes of its first three groups the other way round, as Windows keeps them. */
function tokenText(tag: Buffer): string {
  const bytes = Buffer.concat([
    Buffer.from(tag.subarray(0, 4)).reverse(),
    Buffer.from(tag.subarray(4, 6)).reverse(),
    Buffer.from(tag.subarray(6, 8)).reverse(),
    tag.subarray(8),
  ]);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
