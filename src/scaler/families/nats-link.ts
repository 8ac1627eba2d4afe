import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { Fault, faultOf } from '../../base/errors.ts';
import { networkFault } from '../../base/http.ts';
import { withoutSecrets } from '../../base/secret.ts';
import { type NatsLogin, proofOf, secretsOf } from './nats-login.ts';
import {
  encodePublication,
  type NatsEvent,
  type NatsMessage,
  type NatsPublication,
  NatsReader,
} from './nats-wire.ts';
import { type Address, addressText, encryptSocket, openSocket, type Way } from './socket.ts';

/** How to come in. Where `tls` is not given, it is used only where the server insists. */
export interface NatsEntry extends NatsLogin, Way {
  /** Whom to trust where the server insists on TLS. */
  trust?: Way['tls'];
  /** What the owner of the server sees among the connections. */
  connectionName: string;
}

/** A request: a message with a way back. */
export type NatsRequest = Omit<NatsPublication, 'reply'>;

/** What becomes of many answers to one request. */
export interface NatsAnswers {
  /** Is handed each answer; true says that it was the last. */
  take(message: NatsMessage): boolean;
  /** They end at the latest so long after the server has heard of the request, in milliseconds. */
  endMs: number;
  /** What is told to where an answer to an answer goes, where nobody takes that answer any more. */
  refusal: string;
}

/** One connection to one server. */
export interface NatsLink extends AsyncDisposable {
  /** `host:port` */
  readonly name: string;
  /** False once the server or we have closed it; then it stays closed. */
  readonly open: boolean;
  /**
   * Sends a request and resolves with the one answer to it; a status of the server is an answer, too.
   *
   * @throws Fault SOURCE_UNREACHABLE, SOURCE_REFUSED, SOURCE_TIMEOUT, SOURCE_ANSWER_INVALID or CANCELLED
   */
  request(request: NatsRequest, signal: AbortSignal): Promise<NatsMessage>;
  /**
   * Sends a request and hands its answers out, until one of them is the last or their time is over: once that is so,
   * no more come. Messages of a stream are answers, too, which `request` does not know as such.
   *
   * @throws as `request` does; what was taken before is the caller's, and what comes later is refused
   */
  collect(request: NatsRequest, answers: NatsAnswers, signal: AbortSignal): Promise<void>;
}

interface Waiting {
  subject: string;
  take(message: NatsMessage): boolean;
  resolve(): void;
  reject(fault: Fault): void;
}

/**
 * Connects, encrypts where either side wants it, and logs in.
 *
 * @throws Fault SOURCE_UNREACHABLE, SOURCE_REFUSED, SOURCE_BUSY, SOURCE_TIMEOUT…; no message holds a credential
 */
export async function connectNats(
  address: Address,
  entry: NatsEntry,
  signal: AbortSignal,
): Promise<NatsLink> {
  const socket = await openSocket(address, {}, signal);
  const link = new Link(socket, address);
  const stop = () => link.end(networkFault(signal.reason, link.name, signal));
  signal.addEventListener('abort', stop, { once: true });
  try {
    if (signal.aborted) stop();
    await link.enter(entry, signal);
    return link;
  } catch (thrown) {
    link.end(faultOf(thrown));
    throw thrown;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

class Link implements NatsLink {
  readonly name: string;
  readonly #address: Address;
  readonly #inbox = `_INBOX.${randomBytes(12).toString('hex')}`;
  readonly #waiting = new Map<string, Waiting>();
  /** What is told to who answers too late, by subscription. */
  readonly #refusals = new Map<string, string>();
  /** What is done when the server has answered to each ping: it has heard everything before it then. */
  readonly #pings: (() => void)[] = [];
  readonly #reader = new NatsReader();
  #socket: Socket;
  #end: Fault | undefined;
  #secrets: readonly (string | undefined)[] = [];
  /** Takes what the server says during the handshake. */
  #listener: { take(event: NatsEvent): void; reject(fault: Fault): void } | undefined;
  #requests = 0;
  /** How often the server has said anything. */
  #heard = 0;

  constructor(socket: Socket, address: Address) {
    this.#address = address;
    this.name = addressText(address);
    this.#socket = socket;
    this.#listen(socket);
  }

  get open(): boolean {
    return this.#end === undefined;
  }

  async enter(entry: NatsEntry, signal: AbortSignal): Promise<void> {
    const info = await this.#hear('info');
    if (info.kind !== 'info') return;
    const { tls_required: needs, tls_available: offers, nonce } = info.info;
    if (entry.tls !== undefined && !needs && !offers) {
      throw new Fault('SOURCE_REFUSED', `${this.name} offers no TLS`);
    }
    const encrypted = Boolean(needs) || entry.tls !== undefined;
    if (encrypted) await this.#encrypt({ ...entry, tls: entry.tls ?? entry.trust }, signal);
    this.#secrets = secretsOf(entry).map(secret => secret?.reveal());
    const hello = {
      ...proofOf(entry, typeof nonce === 'string' ? nonce : undefined),
      verbose: false,
      pedantic: false,
      tls_required: encrypted,
      name: entry.connectionName,
      lang: 'node',
      version: '1',
      protocol: 1,
      headers: true,
      no_responders: true,
    };
    this.#send(`CONNECT ${JSON.stringify(hello)}\r\nSUB ${this.#inbox}.* 1\r\n`, () => {});
    await this.#hear('pong');
  }

  async request(request: NatsRequest, signal: AbortSignal): Promise<NatsMessage> {
    let answer: NatsMessage | undefined;
    const take = (message: NatsMessage) => {
      answer = message;
      return true;
    };
    this.#requests += 1;
    const reply = `${this.#inbox}.${this.#requests}`;
    await this.#ask({ ...request, reply }, { key: reply, take, before: '', heard() {} }, signal);
    if (answer === undefined) throw new Fault('INTERNAL', `${this.name} did not answer`);
    return answer;
  }

  async collect(
    request: NatsRequest,
    { take, endMs, refusal }: NatsAnswers,
    signal: AbortSignal,
  ): Promise<void> {
    this.#requests += 1;
    // One is the subscription that all answers to `request` come by.
    const key = String(this.#requests + 1);
    const reply = `${this.#inbox}.many.${key}`;
    const leave = (left: () => void) => this.#send(`UNSUB ${key}\r\n`, left);
    let timer: NodeJS.Timeout | undefined;
    const heard = () => {
      // What the server has sent until it hears that nobody waits any more is taken still.
      timer = setTimeout(() => leave(() => this.#waiting.get(key)?.resolve()), endMs);
    };
    try {
      await this.#ask({ ...request, reply }, { key, take, before: `SUB ${reply} ${key}\r\n`, heard }, signal);
    } finally {
      clearTimeout(timer);
      this.#refusals.set(key, refusal);
      leave(() => this.#refusals.delete(key));
    }
  }

  async #ask(
    publication: NatsPublication,
    {
      key,
      take,
      before,
      heard,
    }: { key: string; take(message: NatsMessage): boolean; before: string; heard(): void },
    signal: AbortSignal,
  ): Promise<void> {
    if (this.#end !== undefined) throw this.#end;
    if (signal.aborted) throw networkFault(signal.reason, this.name, signal);
    const bytes = Buffer.concat([Buffer.from(before), encodePublication(publication)]);
    const heardBefore = this.#heard;
    let stop = () => {};
    try {
      await new Promise<void>((resolve, reject) => {
        this.#waiting.set(key, { subject: publication.subject, take, resolve, reject });
        stop = () => {
          const fault = networkFault(signal.reason, this.name, signal);
          reject(fault);
          // It answers to a ping whatever becomes of the request: who says nothing at all is gone.
          if (this.#heard === heardBefore) this.end(fault);
        };
        signal.addEventListener('abort', stop, { once: true });
        this.#send(bytes, heard);
      });
    } finally {
      this.#waiting.delete(key);
      signal.removeEventListener('abort', stop);
    }
  }

  /** @param heard is called once the server has heard it */
  #send(bytes: string | Buffer, heard: () => void): void {
    if (this.#end !== undefined) return;
    this.#pings.push(heard);
    this.#socket.write(Buffer.concat([typeof bytes === 'string' ? Buffer.from(bytes) : bytes, ping]));
  }

  /** Closes it; whoever waits is told why. A second call does nothing. */
  end(fault: Fault): void {
    if (this.#end !== undefined) return;
    this.#end = fault;
    this.#socket.destroy();
    this.#listener?.reject(fault);
    for (const { reject } of this.#waiting.values()) reject(fault);
    this.#waiting.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.end(new Fault('CANCELLED', `the connection to ${this.name} was closed`));
  }

  #hear(kind: 'info' | 'pong'): Promise<NatsEvent> {
    return new Promise((resolve, reject) => {
      if (this.#end !== undefined) {
        reject(this.#end);
        return;
      }
      this.#listener = {
        take: event => {
          if (event.kind !== kind) return;
          this.#listener = undefined;
          resolve(event);
        },
        reject,
      };
    });
  }

  #listen(socket: Socket): void {
    socket.on('data', (chunk: Buffer) => {
      if (this.#end !== undefined || socket !== this.#socket) return;
      this.#heard += 1;
      try {
        for (const event of this.#reader.push(chunk)) this.#take(event);
      } catch (thrown) {
        const { code, message } = faultOf(thrown);
        this.end(new Fault(code, `${this.name} ${message}`, { cause: thrown }));
      }
    });
    socket.on('error', thrown => this.end(networkFault(thrown, this.name)));
    socket.on('close', () => this.end(new Fault('SOURCE_UNREACHABLE', `${this.name} closed the connection`)));
  }

  #take(event: NatsEvent): void {
    this.#listener?.take(event);
    switch (event.kind) {
      case 'ping':
        this.#socket.write('PONG\r\n');
        break;
      case 'pong':
        this.#pings.shift()?.();
        break;
      case 'error':
        this.#complain(withoutSecrets(event.text, this.#secrets));
        break;
      case 'message':
        this.#answer(event.message);
        break;
      default:
        break;
    }
  }

  #answer(message: NatsMessage): void {
    const { subscription, subject, reply } = message;
    const waiting = this.#waiting.get(subscription === '1' ? subject : subscription);
    if (waiting?.take(message)) waiting.resolve();
    const refusal = this.#refusals.get(subscription);
    if (waiting !== undefined || reply === undefined || refusal === undefined) return;
    this.#socket.write(encodePublication({ subject: reply, data: refusal }));
  }

  /** What may not be done ends only that; everything else ends the connection. */
  #complain(text: string): void {
    const [, what = '', subject = ''] = /^permissions violation for (\w+) to "([^"]*)"/i.exec(text) ?? [];
    const sentence = `${this.name}: ${text}`;
    if (what.toLowerCase() !== 'publish') {
      this.end(new Fault(codeOf(text), sentence));
      return;
    }
    for (const waiting of this.#waiting.values()) {
      if (waiting.subject === subject) waiting.reject(new Fault('SOURCE_REFUSED', sentence));
    }
  }

  async #encrypt(way: Way, signal: AbortSignal): Promise<void> {
    // Somebody in between may have put plain bytes there, to be taken for the server's.
    if (this.#reader.buffered > 0) {
      throw new Fault('SOURCE_ANSWER_INVALID', `${this.name} sent something before the TLS handshake`);
    }
    const plain = this.#socket;
    plain.removeAllListeners('data').removeAllListeners('close').removeAllListeners('error');
    this.#socket = await encryptSocket(plain, { address: this.#address, way, signal });
    this.#listen(this.#socket);
  }
}

const ping = Buffer.from('PING\r\n');

function codeOf(text: string): Fault['code'] {
  if (/authoriz|authentic|permission|secure connection|account/i.test(text)) return 'SOURCE_REFUSED';
  if (/maximum connections|slow consumer/i.test(text)) return 'SOURCE_BUSY';
  return 'SOURCE_FAILED';
}
