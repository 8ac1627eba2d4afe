import type { Socket } from 'node:net';
import { Fault, faultOf } from '../../base/errors.ts';
import { networkFault } from '../../base/http.ts';
import { type Secret, withoutSecrets } from '../../base/secret.ts';
import { faultOfCode, noError } from './kafka-errors.ts';
import {
  type ApiVersions,
  apis,
  apiVersionsCall,
  type Call,
  type SaslAnswer,
  saslAuthenticateCall,
  saslHandshakeCall,
} from './kafka-messages.ts';
import { WireReader, WireWriter } from './kafka-wire.ts';
import { type Address, joinHostPort, openSocket, type Way } from './socket.ts';

/** A way to log in with SASL: the bytes go back and forth until both sides are content. */
export interface SaslLogin {
  /** As Kafka calls it, such as `SCRAM-SHA-256`. */
  readonly mechanism: string;
  /**
   * One login.
   *
   * @param step sends bytes and resolves with the broker's answer
   * @throws Fault SOURCE_REFUSED, or AUTH_FAILED where no token could be had
   */
  login(step: (bytes: Buffer) => Promise<Buffer>, at: LoginAt): Promise<void>;
  /** What no sentence may show. */
  readonly secrets: readonly Secret[];
}

export interface LoginAt {
  host: string;
  /** Epoch milliseconds. */
  now: number;
  signal: AbortSignal;
}

/** How to come in, the same for every broker of a cluster. */
export interface KafkaEntry extends Way {
  sasl?: SaslLogin | undefined;
  /** What the broker's logs and quotas know us by. */
  connectionName: string;
}

/** One connection to one broker. */
export interface KafkaLink extends AsyncDisposable {
  /** `host:port` */
  readonly name: string;
  /** False once it is closed, or soon will be because what we logged in with expires. */
  readonly open: boolean;
  /** Whether the broker knows this version of a request. */
  supports(api: number, version: number): boolean;
  /**
   * Sends a request and resolves with its answer. Several may be under way; the broker works on them in order.
   *
   * @throws Fault SOURCE_UNREACHABLE, SOURCE_TIMEOUT, SOURCE_ANSWER_INVALID, SOURCE_ANSWER_TOO_LARGE or CANCELLED
   */
  ask<T>(call: Call<T>, signal: AbortSignal): Promise<T>;
}

interface Waiting {
  id: number;
  call: Call<unknown>;
  settle(outcome: { value: unknown } | Fault): void;
}

/** A broker's list of versions has some 600 bytes; more than this is no broker. */
const mostGreetingBytes = 64 * 1024;
/** How TLS says that what it heard is no TLS. */
const tlsAlert = 0x1503;
const mostAnswerBytes = 64 * 1024 * 1024;
/** Renewed when this much of the time is over that the broker lets us stay. */
const lifetimeShare = 0.8;

/**
 * Connects, learns what the broker knows, and logs in.
 *
 * @param now epoch milliseconds, for tokens that expire
 * @throws Fault SOURCE_UNREACHABLE, SOURCE_REFUSED, SOURCE_TIMEOUT…; no message holds a credential
 */
export async function connectKafka(
  address: Address,
  entry: KafkaEntry,
  { now, signal }: { now: number; signal: AbortSignal },
): Promise<KafkaLink> {
  const socket = await openSocket(address, entry, signal);
  const link = new Link(socket, joinHostPort(address.host, address.port), entry.connectionName);
  try {
    await link.greet(signal);
    if (entry.sasl !== undefined) await link.logIn(entry.sasl, { host: address.host, now, signal });
    return link;
  } catch (thrown) {
    await link[Symbol.asyncDispose]();
    throw thrown;
  }
}

class Link implements KafkaLink {
  readonly name: string;
  readonly #socket: Socket;
  readonly #connectionName: string;
  readonly #line: Waiting[] = [];
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #lastId = 0;
  #versions: ApiVersions | undefined;
  #end: Fault | undefined;
  #retired = false;
  #expiry: NodeJS.Timeout | undefined;

  constructor(socket: Socket, name: string, connectionName: string) {
    this.name = name;
    this.#socket = socket;
    this.#connectionName = connectionName;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', thrown => this.#close(networkFault(thrown, name)));
    socket.on('close', () => this.#close(new Fault('SOURCE_UNREACHABLE', this.#hungUp())));
  }

  get open(): boolean {
    return this.#end === undefined && !this.#retired;
  }

  supports(api: number, version: number): boolean {
    const known = this.#versions?.get(api);
    return known !== undefined && known.min <= version && version <= known.max;
  }

  async greet(signal: AbortSignal): Promise<void> {
    const { error, versions } = await this.ask(apiVersionsCall(), signal);
    if (error !== noError) throw faultOfCode(error, this.name);
    this.#versions = versions;
    for (const [api, version] of [
      [apis.metadata, 4],
      [apis.listOffsets, 1],
    ] as const) {
      if (this.supports(api, version)) continue;
      throw new Fault('NOT_SUPPORTED', `${this.name} is no Kafka of 0.11 or later`);
    }
  }

  async logIn(sasl: SaslLogin, at: LoginAt): Promise<void> {
    const { signal } = at;
    const { error, mechanisms } = await this.ask(saslHandshakeCall(sasl.mechanism), signal);
    if (error !== noError) {
      const offered = mechanisms.length === 0 ? '' : `it offers ${mechanisms.join(', ')}`;
      throw faultOfCode(error, `logging in to ${this.name} with ${sasl.mechanism}`, offered);
    }
    const version = this.supports(apis.saslAuthenticate, 1) ? 1 : 0;
    let lifetimeMs = 0;
    await sasl.login(async bytes => {
      const answer = await this.ask(saslAuthenticateCall(bytes, version), signal);
      this.#accept(answer, sasl);
      lifetimeMs = answer.lifetimeMs;
      return answer.bytes;
    }, at);
    if (lifetimeMs > 0) this.#retireAfter(lifetimeMs * lifetimeShare);
  }

  ask<T>(call: Call<T>, signal: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(networkFault(signal.reason, this.name, signal));
      if (this.#end !== undefined) return reject(this.#end);
      const stop = () => {
        const fault = networkFault(signal.reason, this.name, signal);
        reject(fault);
        // A broker that does not answer is asked again over a new connection, should this one be dead.
        if (fault.code === 'SOURCE_TIMEOUT') this.#close(fault);
      };
      signal.addEventListener('abort', stop, { once: true });
      this.#lastId = (this.#lastId + 1) & 0x7fffffff;
      const settle: Waiting['settle'] = outcome => {
        signal.removeEventListener('abort', stop);
        if (outcome instanceof Fault) reject(outcome);
        else resolve(outcome.value as T);
      };
      this.#line.push({ id: this.#lastId, call, settle });
      this.#socket.write(this.#request(call));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#close(new Fault('CANCELLED', `the connection to ${this.name} was closed`));
  }

  #accept({ error, said }: SaslAnswer, { mechanism, secrets }: SaslLogin): void {
    if (error === noError) return;
    const cleaned = withoutSecrets(
      said ?? '',
      secrets.map(secret => secret.reveal()),
    );
    throw faultOfCode(error, `logging in to ${this.name} with ${mechanism}`, cleaned);
  }

  #request(call: Call<unknown>): Buffer {
    const out = new WireWriter();
    out.int16(call.api).int16(call.version).int32(this.#lastId).string(this.#connectionName);
    if (call.flexible) out.tags();
    call.write(out);
    return out.frame();
  }

  #take(chunk: Buffer): void {
    if (this.#end !== undefined) return;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    try {
      while (this.#bytes >= 4) {
        const length = this.#peekLength();
        if (this.#bytes < 4 + length) return;
        const all = this.#joined();
        this.#chunks.length = 0;
        if (all.length > 4 + length) this.#chunks.push(all.subarray(4 + length));
        this.#bytes = all.length - 4 - length;
        this.#answer(all.subarray(4, 4 + length));
      }
    } catch (thrown) {
      const { code, message } = faultOf(thrown);
      this.#close(new Fault(code, `${this.name} ${message}`));
    }
  }

  #peekLength(): number {
    const [first] = this.#chunks;
    if (first === undefined || first.length < 4) this.#chunks.splice(0, this.#chunks.length, this.#joined());
    const length = this.#chunks[0]?.readInt32BE(0) ?? 0;
    const greeting = this.#versions === undefined;
    if (greeting && length >>> 16 === tlsAlert) {
      throw new Fault('SOURCE_ANSWER_INVALID', 'wants TLS: set tls to enable');
    }
    if (length < 4 || (greeting && length > mostGreetingBytes)) {
      throw new Fault('SOURCE_ANSWER_INVALID', 'does not speak the protocol of Kafka');
    }
    if (length > mostAnswerBytes) {
      throw new Fault('SOURCE_ANSWER_TOO_LARGE', `answered with ${length} bytes, more than can be of use`);
    }
    return length;
  }

  #joined(): Buffer {
    const [first = Buffer.alloc(0)] = this.#chunks;
    return this.#chunks.length === 1 ? first : Buffer.concat(this.#chunks, this.#bytes);
  }

  #answer(bytes: Buffer): void {
    const answer = new WireReader(bytes);
    const [waiting] = this.#line;
    if (waiting?.id !== answer.int32()) {
      throw new Fault('SOURCE_ANSWER_INVALID', 'answered what nobody had asked');
    }
    if (waiting.call.flexible) answer.tags();
    const value = waiting.call.read(answer);
    this.#line.shift();
    waiting.settle({ value });
    if (this.#retired && this.#line.length === 0) void this[Symbol.asyncDispose]();
  }

  /** The broker hangs up on whoever stays longer than what it logged in with is good for. */
  #retireAfter(ms: number): void {
    this.#expiry = setTimeout(
      () => {
        this.#retired = true;
        if (this.#line.length === 0) void this[Symbol.asyncDispose]();
      },
      Math.min(ms, 2 ** 31 - 1),
    );
    this.#expiry.unref();
  }

  /** Brokers say nothing to somebody who should have logged in or spoken TLS: they hang up. */
  #hungUp(): string {
    const [waiting] = this.#line;
    const asked = waiting === undefined ? '' : ` when it was asked for ${waiting.call.name}`;
    const early = this.#versions === undefined || waiting?.call.api === apis.metadata;
    const hint = waiting !== undefined && early ? '; perhaps this listener wants tls or sasl' : '';
    return `${this.name} closed the connection${asked}${hint}`;
  }

  #close(fault: Fault): void {
    this.#end ??= fault;
    clearTimeout(this.#expiry);
    this.#socket.destroy();
    this.#chunks.length = 0;
    for (const { settle } of this.#line.splice(0)) settle(this.#end);
  }
}
