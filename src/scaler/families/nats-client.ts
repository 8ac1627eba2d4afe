import { deadline } from '../../base/deadline.ts';
import { Fault } from '../../base/errors.ts';
import {
  connectNats,
  type NatsAnswers,
  type NatsEntry,
  type NatsLink,
  type NatsRequest,
} from './nats-link.ts';
import { type Json, type NatsMonitoring, objectOf } from './nats-monitoring.ts';
import type { NatsMessage } from './nats-wire.ts';
import type { Address } from './socket.ts';

export interface NatsClientOptions {
  /** Asked where clients connect, where nobody says. */
  monitoring: NatsMonitoring;
  addresses: readonly Address[] | undefined;
  entry: NatsEntry;
}

/** How long an address may take before the next one is tried, where there are several. */
const nextAfterMs = 2_000;

/** A client of JetStream: one connection, made by its first use and made anew after it was lost. */
export class NatsClient implements AsyncDisposable {
  readonly #options: NatsClientOptions;
  #link: NatsLink | undefined;
  #connecting: Promise<NatsLink> | undefined;
  #closed = false;

  constructor(options: NatsClientOptions) {
    this.#options = options;
  }

  /** One answer, which may be a status. @throws Fault of the source */
  async request(request: NatsRequest, asking: { now: number; signal: AbortSignal }): Promise<NatsMessage> {
    const link = await this.#current(asking);
    return await link.request(request, asking.signal);
  }

  /** As `NatsLink.collect` does. */
  async collect(
    request: NatsRequest,
    answers: NatsAnswers,
    asking: { now: number; signal: AbortSignal },
  ): Promise<void> {
    const link = await this.#current(asking);
    await link.collect(request, answers, asking.signal);
  }

  /**
   * What the API of JetStream answers.
   *
   * @param what names what is asked about in sentences
   * @throws Fault of the source; a `JetStreamFault` where JetStream says which error
   */
  async api(
    subject: string,
    input: Json | undefined,
    { what, ...asking }: { what: string; now: number; signal: AbortSignal },
  ): Promise<Json> {
    const data = input === undefined ? '' : JSON.stringify(input);
    const answer = await this.request({ subject: `$JS.API.${subject}`, data }, asking);
    const name = this.#link?.name ?? 'NATS';
    if (answer.status !== undefined) {
      throw new Fault('SOURCE_FAILED', `${what}: no JetStream answers at ${name} for this account`);
    }
    const json = jsonOf(answer.data);
    if (json === undefined) throw new Fault('SOURCE_ANSWER_INVALID', `${what}: ${name} answered no JSON`);
    const error = objectOf(json['error']);
    if (error !== undefined) throw new JetStreamFault(error, `${what} at ${name}`);
    return json;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#link?.[Symbol.asyncDispose]();
  }

  async #current(asking: { now: number; signal: AbortSignal }): Promise<NatsLink> {
    if (this.#closed) throw new Fault('CANCELLED', 'the connection to NATS was closed');
    if (this.#link?.open) return this.#link;
    const others = this.#connecting;
    // What ended the time of another need not have ended ours.
    if (others !== undefined) await others.catch(() => undefined);
    if (this.#link?.open) return this.#link;
    this.#connecting ??= this.#connect(asking).finally(() => {
      this.#connecting = undefined;
    });
    return await this.#connecting;
  }

  async #connect(asking: { now: number; signal: AbortSignal }): Promise<NatsLink> {
    const { entry } = this.#options;
    const addresses = await this.#addresses(asking);
    let fault: unknown = new Fault('INTERNAL', 'there is no address to connect to');
    for (const [index, address] of addresses.entries()) {
      using limit = index < addresses.length - 1 ? deadline(asking.signal, nextAfterMs) : undefined;
      try {
        const link = await connectNats(address, entry, limit?.signal ?? asking.signal);
        if (this.#closed) await link[Symbol.asyncDispose]();
        this.#link = link;
        return link;
      } catch (thrown) {
        if (asking.signal.aborted) throw thrown;
        fault = thrown;
      }
    }
    throw fault;
  }

  async #addresses(asking: { now: number; signal: AbortSignal }): Promise<readonly Address[]> {
    const { addresses, monitoring } = this.#options;
    if (addresses !== undefined) return addresses;
    const [base, { port }] = await monitoring.entry((each, at) => monitoring.facts(each, at), asking);
    return [{ host: new URL(base).hostname.replace(/^\[(.*)\]$/, '$1'), port }];
  }
}

/** An error of JetStream, with its number there. */
export class JetStreamFault extends Fault {
  readonly errorCode: number;

  constructor(error: Json, what: string) {
    const { code, err_code: errorCode, description } = error;
    const text = typeof description === 'string' ? description : 'failed';
    const [kind] = [
      code === 404 ? 'SOURCE_NOT_FOUND' : code === 429 ? 'SOURCE_BUSY' : 'SOURCE_FAILED',
    ] as const;
    super(kind, `${what}: ${text.slice(0, 200)}`);
    this.errorCode = typeof errorCode === 'number' ? errorCode : 0;
  }
}

/** The JSON object in a message; undefined for what is none. */
export function jsonOf(data: Buffer): Json | undefined {
  try {
    return objectOf(JSON.parse(data.toString('utf8')));
  } catch {
    return undefined;
  }
}
