import { deadline, orAborted } from '../../base/deadline.ts';
import { Fault, faultOf } from '../../base/errors.ts';
import { networkFault } from '../../base/http.ts';
import type { OpenContext } from '../context.ts';
import { requireUsableTls } from './http-auth.ts';
import { type AmqpAccess, amqpPlace } from './rabbitmq-access.ts';
import type { AmqpChannel, Publication } from './rabbitmq-channel.ts';
import { type AmqpEntry, type AmqpLink, connectAmqp } from './rabbitmq-link.ts';
import { QueueSession } from './rabbitmq-session.ts';
import { methods } from './rabbitmq-wire.ts';

/** An open virtual host: a connection that counts, and one that takes messages once that is asked for. */
export interface Broker extends AsyncDisposable {
  readonly protocol: 'amqp';
  /** Names it in sentences. */
  readonly name: string;
  /**
   * How many messages are ready in each queue.
   *
   * @returns in order the counts, or the Fault of that one queue: SOURCE_NOT_FOUND where it is missing
   * @throws Fault of the source where none can be counted
   */
  count(queues: readonly string[], signal: AbortSignal): Promise<(number | Fault)[]>;
  /** The open session with a queue; undefined where there is none (any more). */
  present(queue: string): QueueSession | undefined;
  /** The session with a queue, opened where there is none. @throws Fault of the source */
  session(queue: string, signal: AbortSignal): Promise<QueueSession>;
  /**
   * Puts a message into a queue, which is made where it is missing, and waits until the broker has it.
   *
   * @throws Fault of the source
   */
  publish(publication: Publication, signal: AbortSignal): Promise<void>;
}

/** Queues asked about before an answer is waited for. What is missing closes the channel, and the rest is asked again. */
const window = 64;
/** How long the broker may take to have a message, in milliseconds. */
const publishMs = 5000;

/**
 * Connects.
 *
 * @throws Fault SOURCE_…, PARAM_INVALID where certificates or keys cannot be used
 */
export async function openBroker(access: AmqpAccess, context: OpenContext): Promise<Broker> {
  requireUsableTls(access.encryption);
  const { signal, http } = context;
  const name = context.connectionName();
  const { address, vhost, login, encryption: tls, serverName } = access;
  const { roots, minTlsVersion } = http;
  const entry = (does: string): AmqpEntry => ({
    tls,
    roots,
    minTlsVersion,
    serverName,
    vhost,
    login,
    connectionName: `${name} (${does})`,
  });
  const line = (does: string) => new Line(under => connectAmqp(address, entry(does), under));
  const broker = new AmqpBroker(amqpPlace(access), line);
  await broker.connect(signal);
  return broker;
}

/** A connection that is made when it is needed, and made anew after it was lost. */
class Line implements AsyncDisposable {
  readonly #connect: (signal: AbortSignal) => Promise<AmqpLink>;
  #link: AmqpLink | undefined;
  #connecting: Promise<AmqpLink> | undefined;
  #closed = false;

  constructor(connect: (signal: AbortSignal) => Promise<AmqpLink>) {
    this.#connect = connect;
  }

  async link(signal: AbortSignal): Promise<AmqpLink> {
    if (this.#closed) throw new Fault('CANCELLED', 'the connection was closed');
    if (this.#link?.open) return this.#link;
    // What ended the time of another need not have ended ours.
    await this.#connecting?.catch(() => undefined);
    if (this.#link?.open) return this.#link;
    this.#connecting ??= this.#begin(signal);
    return await this.#connecting;
  }

  async #begin(signal: AbortSignal): Promise<AmqpLink> {
    try {
      const link = await this.#connect(signal);
      if (this.#closed) await link[Symbol.asyncDispose]();
      this.#link = link;
      return link;
    } finally {
      this.#connecting = undefined;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#link?.[Symbol.asyncDispose]();
  }
}

class AmqpBroker implements Broker {
  readonly protocol = 'amqp';
  readonly name: string;
  readonly #line: (does: string) => Line;
  readonly #counting: Line;
  readonly #delivering: Line;
  readonly #sessions = new Map<string, QueueSession>();
  /** A channel for counting that nobody uses at the moment. */
  #idle: AmqpChannel | undefined;
  /**
   * A broker that is short of memory or disk stops listening to whoever publishes, so neither what counts nor what
   * settles messages does: this connection is there for it alone, while it is needed.
   */
  #publishing: { line: Line; users: number } | undefined;

  constructor(name: string, line: (does: string) => Line) {
    this.name = name;
    this.#line = line;
    this.#counting = line('counts messages');
    this.#delivering = line('delivers messages to Jobs');
  }

  async connect(signal: AbortSignal): Promise<void> {
    await this.#counting.link(signal);
  }

  async count(queues: readonly string[], signal: AbortSignal): Promise<(number | Fault)[]> {
    const link = await this.#counting.link(signal);
    const counts = new Map<string, number | Fault>();
    let left = [...new Set(queues)];
    while (left.length > 0) {
      const asked = left.slice(0, window);
      const channel = this.#idle?.open ? this.#idle : await link.channel(signal);
      this.#idle = undefined;
      const answers = await within(
        Promise.allSettled(asked.map(queue => declared(channel, queue))),
        link,
        signal,
      );
      for (const [index, queue] of asked.entries()) {
        const answer = answers[index];
        if (answer?.status === 'fulfilled') counts.set(queue, answer.value);
        else if (answer?.reason === channel.fault && link.open) counts.set(queue, answer?.reason as Fault);
      }
      const unheard = left.filter(queue => !counts.has(queue));
      if (channel.open) this.#idle = channel;
      else if (unheard.length === left.length) throw channel.fault;
      left = unheard;
    }
    return queues.map(
      queue => counts.get(queue) ?? new Fault('INTERNAL', `queue "${queue}" was not counted`),
    );
  }

  present(queue: string): QueueSession | undefined {
    const session = this.#sessions.get(queue);
    return session?.open ? session : undefined;
  }

  async session(queue: string, signal: AbortSignal): Promise<QueueSession> {
    const present = this.present(queue);
    if (present !== undefined) return present;
    const link = await this.#delivering.link(signal);
    const channel = await link.channel(signal);
    const rival = this.present(queue);
    if (rival !== undefined) {
      channel.close();
      return rival;
    }
    const session = new QueueSession(channel, { queue, broker: this.name });
    this.#sessions.get(queue)?.[Symbol.dispose]();
    this.#sessions.set(queue, session);
    return session;
  }

  async publish(publication: Publication, signal: AbortSignal): Promise<void> {
    using limit = deadline(signal, publishMs);
    this.#publishing ??= { line: this.#line('puts away messages that failed'), users: 0 };
    const used = this.#publishing;
    used.users += 1;
    try {
      await this.#put(publication, await used.line.link(limit.signal), limit.signal);
    } catch (thrown) {
      throw this.#unpublished(publication, thrown, signal);
    } finally {
      used.users -= 1;
      if (used.users === 0) {
        this.#publishing = undefined;
        await used.line[Symbol.asyncDispose]();
      }
    }
  }

  async #put(publication: Publication, link: AmqpLink, signal: AbortSignal): Promise<void> {
    await ensureQueue(link, publication.routingKey, signal);
    const channel = await link.channel(signal);
    try {
      await within(
        channel.call(methods.confirmSelect, writer => writer.u8(0)),
        link,
        signal,
      );
      await within(channel.publish(publication), link, signal);
    } catch (thrown) {
      if (link.blocked === undefined) throw thrown;
      throw new Fault('SOURCE_BUSY', `${this.name} takes no messages now: ${link.blocked}`);
    } finally {
      channel.close();
    }
  }

  /** What is wrong with publishing is not wrong with the connections that count and hold messages. */
  #unpublished({ routingKey }: Publication, thrown: unknown, signal: AbortSignal): Fault {
    const fault = faultOf(thrown);
    if (signal.aborted || fault.code === 'SOURCE_UNREACHABLE') return fault;
    const message = `a message cannot be put into the queue "${routingKey}": ${fault.message}`;
    return new Fault('SOURCE_FAILED', message, { cause: thrown });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const session of this.#sessions.values()) session[Symbol.dispose]();
    this.#sessions.clear();
    const lines = [this.#counting, this.#delivering, this.#publishing?.line];
    await Promise.all(lines.map(line => line?.[Symbol.asyncDispose]()));
  }
}

/** @throws Fault of the deadline, whatever the work comes to */
async function within<T>(work: Promise<T>, { name }: AmqpLink, signal: AbortSignal): Promise<T> {
  try {
    return await orAborted(work, signal);
  } catch (thrown) {
    throw signal.aborted ? networkFault(thrown, name, signal) : thrown;
  }
}

/** How many messages are ready, by declaring a queue that must be there. */
async function declared(channel: AmqpChannel, queue: string): Promise<number> {
  const { args } = await channel.call(methods.queueDeclare, writer => {
    writer.u16(0);
    writer.short(queue);
    // Passive: nothing is made.
    writer.u8(1);
    writer.table([]);
  });
  args.short();
  return args.u32();
}

/** Makes a durable queue where it is missing; one that is there may be of any kind. */
async function ensureQueue(link: AmqpLink, queue: string, signal: AbortSignal): Promise<void> {
  const looking = await link.channel(signal);
  try {
    await within(declared(looking, queue), link, signal);
    return;
  } catch (thrown) {
    if (!(thrown instanceof Fault) || thrown.code !== 'SOURCE_NOT_FOUND') throw thrown;
  } finally {
    looking.close();
  }
  const making = await link.channel(signal);
  const made = making.call(methods.queueDeclare, writer => {
    writer.u16(0);
    writer.short(queue);
    // Durable.
    writer.u8(2);
    writer.table([]);
  });
  await within(made, link, signal).finally(() => making.close());
}
