import type { Clock } from '../base/clock.ts';
import { deadline, orAborted } from '../base/deadline.ts';
import { Fault, type FaultCode, faultOf } from '../base/errors.ts';
import type { HttpOptions } from '../base/http.ts';
import type { Log } from '../base/log.ts';
import { type Backoff, backoffMs } from '../base/retry.ts';
import type { BoundRead } from '../scaler/bind.ts';
import type { ClusterReader, OpenContext, ReadContext, TokenSource } from '../scaler/context.ts';
import { connectionName } from './connection-name.ts';

export interface SourceOptions {
  clock: Clock;
  log: Log;
  random: () => number;
  tokens: TokenSource;
  http: HttpOptions;
  cluster: ClusterReader;
  /** Names us to the owners of sources. */
  clientName: string;
  /** How long a reading may take where the trigger does not say, in milliseconds; 3 s unless told. */
  readTimeoutMs?: number;
  /** Aborts everything that is under way. */
  stop: AbortSignal;
}

/** In milliseconds; KEDA's default. */
const defaultTimeoutMs = 3000;
/**
 * Readings of one connection under way at once: as many as an HTTP client has connections. More would only wait
 * there, and run out of time before they are asked.
 */
const mostAtOnce = 8;
/** A source that asks to be left alone for longer is asked again after this, in milliseconds. */
const longestPauseMs = 3_600_000;
/** How long a connection that nothing refers to any more stays open, in milliseconds. */
const idleMs = 10_000;
/**
 * A name that lists other workloads than those that share the connection is put right after this, in milliseconds:
 * once for many changes, since it takes a new connection.
 */
const renamedAfterMs = 60_000;
/** The pauses after failures in a row. The cap keeps a source that is back from being noticed late. */
const sourceBackoff: Backoff = { firstMs: 1000, maxMs: 10_000 };
/** Failures of the way to the source, not of one question to it: they say that others would fail alike. */
const wayCodes: ReadonlySet<FaultCode> = new Set(['SOURCE_UNREACHABLE', 'SOURCE_TIMEOUT', 'SOURCE_BUSY']);

/** What a use has of its own: the connection may have been opened for another trigger. */
interface Means {
  bound: BoundRead;
  signal: AbortSignal;
  /** It delivers. */
  claims?: boolean;
}

type Work<T> = (context: ReadContext<unknown>) => Promise<T>;

/** A connection that was opened, or is being. */
interface Opened {
  conn: Promise<unknown>;
  /** What the source knows it by; undefined where connections to it have no name. */
  name: string | undefined;
  /** When the name is next compared with the workloads, monotonic. */
  nameDue: number;
  /** Messages were claimed through it, and may be lost with it. */
  claims: boolean;
  inUse: number;
  /** Nothing new uses it, and the last one to finish closes it. */
  retired: boolean;
}

interface Connection {
  key: string;
  /** The trigger it was opened for; all that share it would open it alike. */
  bound: BoundRead;
  opened: Opened | undefined;
  /** Those that were retained. */
  readonly users: Set<BoundRead>;
  idle: Disposable | undefined;
  failures: number;
  /** How often the source has answered, with whatever. */
  answers: number;
  /** The last failure of the way, and until when (monotonic) the source is left alone because of it. */
  fault: Fault | undefined;
  notBefore: number;
  /** Readings under way, and those that wait for their turn. */
  underWay: number;
  readonly line: (() => void)[];
  /** Whether one caller is finding out if the source is back, while the others wait for the outcome. */
  probing: boolean;
}

/**
 * The connections to all sources: opened on first use, shared by triggers with the same endpoint and identity,
 * left alone with growing pauses while the way to the source fails, closed when nothing refers to them.
 */
export class Sources implements AsyncDisposable {
  readonly #options: SourceOptions;
  readonly #connections = new Map<string, Connection>();
  readonly #closing = new Set<Promise<void>>();

  constructor(options: SourceOptions) {
    this.#options = options;
  }

  /** How many connections are open or being opened. */
  get open(): number {
    let open = 0;
    for (const { opened } of this.#connections.values()) if (opened !== undefined) open += 1;
    return open;
  }

  /** Says that a trigger refers to its connection, which then stays open between uses. */
  retain(bound: BoundRead): void {
    const connection = this.#connectionOf(bound);
    connection.users.add(bound);
    connection.idle?.[Symbol.dispose]();
    connection.idle = undefined;
  }

  /** Takes a `retain` back. */
  release(bound: BoundRead): void {
    const connection = this.#connections.get(bound.connectionKey);
    if (connection === undefined) return;
    connection.users.delete(bound);
    if (connection.users.size > 0) return;
    connection.idle = this.#options.clock.after(idleMs, () => {
      this.#connections.delete(connection.key);
      this.#retire(connection);
    });
  }

  /**
   * Runs `work` with the trigger's connection, under the trigger's deadline. Of many at once some wait for their
   * turn, and their time runs from then on.
   *
   * @param own the signal of a delivery, which then is the only deadline; it waits for no turn
   * @throws Fault of the source; where it is being left alone, the one that was the reason, at once
   */
  async use<T>(bound: BoundRead, work: Work<T>, own?: AbortSignal): Promise<T> {
    const connection = this.#connectionOf(bound);
    if (own !== undefined) return await this.#ask(connection, work, { bound, signal: own, claims: true });
    if (this.#isLeftAlone(connection)) throw connection.fault;
    await this.#turn(connection);
    try {
      using limit = deadline(this.#options.stop, this.#timeoutMs(bound));
      return await this.#ask(connection, work, { bound, signal: limit.signal });
    } finally {
      this.#passTurn(connection);
    }
  }

  /**
   * Runs `work` that goes on until the signal is aborted, such as listening to what the source says by itself.
   *
   * @throws as `use` does
   */
  async follow(bound: BoundRead, work: Work<void>, signal: AbortSignal): Promise<void> {
    const connection = this.#connectionOf(bound);
    // Nobody waits for the end of it to learn whether the source is back, so it is not the one who finds out.
    if (this.#isLeftAlone(connection)) throw connection.fault;
    await this.#run(connection, work, { bound, signal });
  }

  /** Closes every connection; a second call does nothing. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.#connections.values()) this.#retire(connection);
    this.#connections.clear();
    await Promise.all(this.#closing);
  }

  #timeoutMs({ timeoutMs }: BoundRead): number {
    return timeoutMs ?? this.#options.readTimeoutMs ?? defaultTimeoutMs;
  }

  #connectionOf(bound: BoundRead): Connection {
    const key = bound.connectionKey;
    const present = this.#connections.get(key);
    if (present !== undefined) return present;
    const connection: Connection = {
      key,
      bound,
      opened: undefined,
      users: new Set(),
      idle: undefined,
      failures: 0,
      answers: 0,
      fault: undefined,
      notBefore: 0,
      underWay: 0,
      line: [],
      probing: false,
    };
    this.#connections.set(key, connection);
    return connection;
  }

  async #turn(connection: Connection): Promise<void> {
    if (connection.underWay < mostAtOnce) connection.underWay += 1;
    else await new Promise<void>(resolve => connection.line.push(resolve));
  }

  #passTurn(connection: Connection): void {
    const next = connection.line.shift();
    if (next === undefined) connection.underWay -= 1;
    else next();
  }

  async #ask<T>(connection: Connection, work: Work<T>, means: Means): Promise<T> {
    const probes = this.#mayProbe(connection);
    try {
      return await this.#run(connection, work, means);
    } finally {
      if (probes) connection.probing = false;
    }
  }

  /**
   * While a source is left alone its last fault answers for it; after that one caller goes first.
   *
   * @returns whether the caller is that one
   */
  #mayProbe(connection: Connection): boolean {
    if (connection.fault === undefined) return false;
    if (connection.probing || this.#isLeftAlone(connection)) throw connection.fault;
    connection.probing = true;
    return true;
  }

  #isLeftAlone({ fault, notBefore }: Connection): boolean {
    return fault !== undefined && this.#options.clock.elapsed() < notBefore;
  }

  async #run<T>(connection: Connection, work: Work<T>, means: Means): Promise<T> {
    const { bound, signal, claims = false } = means;
    if (signal.aborted) throw explain(signal.reason, signal);
    const { clock, cluster } = this.#options;
    const { fault, answers } = connection;
    const opened = this.#opened(connection);
    opened.inUse += 1;
    opened.claims ||= claims;
    const ask = async () => {
      const conn = await opened.conn;
      return await work({ conn, signal, now: clock.now(), namespace: bound.context.namespace, cluster });
    };
    try {
      const result = await orAborted(ask(), signal);
      this.#answered(connection, fault);
      return result;
    } catch (thrown) {
      const found = explain(thrown, signal);
      this.#failed(connection, opened, { found, fault, answers });
      throw found;
    } finally {
      opened.inUse -= 1;
      if (opened.retired && opened.inUse === 0) this.#close(connection.bound, opened);
    }
  }

  #opened(connection: Connection): Opened {
    const present = connection.opened;
    if (present !== undefined) {
      this.#keepNamed(connection, present);
      return present;
    }
    const opened = this.#newlyOpened(connection);
    connection.opened = opened;
    opened.conn.catch(() => {
      if (connection.opened === opened) connection.opened = undefined;
    });
    return opened;
  }

  /** Replaces a connection whose name is no longer right, once the new one stands. */
  #keepNamed(connection: Connection, opened: Opened): void {
    const { clock } = this.#options;
    if (opened.name === undefined || opened.claims || clock.elapsed() < opened.nameDue) return;
    opened.nameDue = clock.elapsed() + renamedAfterMs;
    if (opened.name === this.#name(workloadsOf(connection))) return;
    const fresh = this.#newlyOpened(connection);
    const take = () => {
      const wanted = connection.opened === opened && !opened.claims;
      if (wanted) connection.opened = fresh;
      this.#letGo(connection.bound, wanted ? opened : fresh);
    };
    // Where it cannot be had, the old one is good enough for another while.
    fresh.conn.then(take, () => {});
  }

  #newlyOpened(connection: Connection): Opened {
    const workloads = workloadsOf(connection);
    const nameDue = this.#options.clock.elapsed() + renamedAfterMs;
    const opened: Omit<Opened, 'conn'> = {
      name: undefined,
      nameDue,
      claims: false,
      inUse: 0,
      retired: false,
    };
    const named = (most?: number) => {
      opened.name = this.#name(workloads);
      return this.#name(workloads, most);
    };
    return Object.assign(opened, { conn: this.#open(connection.bound, named) });
  }

  #name(workloads: readonly string[], most?: number): string {
    return connectionName(this.#options.clientName, workloads, most);
  }

  /** Under a deadline of its own: all who share the connection wait for it, not only the first. */
  async #open(bound: BoundRead, named: OpenContext['connectionName']): Promise<unknown> {
    const { scaler, params, context } = bound;
    const { clientName, tokens, http, stop } = this.#options;
    using limit = deadline(stop, this.#timeoutMs(bound));
    const { signal } = limit;
    const identity = context.podIdentity;
    try {
      return await scaler.open(params, {
        signal,
        clientName,
        connectionName: named,
        identity,
        tokens,
        http,
      });
    } catch (thrown) {
      throw explain(thrown, signal);
    }
  }

  /** @param seen the fault that was known when the use began: what was learnt since is newer than its outcome */
  #answered(connection: Connection, seen: Fault | undefined): void {
    connection.answers += 1;
    if (connection.fault !== seen) return;
    connection.failures = 0;
    connection.fault = undefined;
  }

  #failed(
    connection: Connection,
    opened: Opened,
    { found, fault, answers }: { found: Fault; fault: Fault | undefined; answers: number },
  ): void {
    if (found.code === 'CANCELLED') return;
    if (!wayCodes.has(found.code)) {
      // Whatever it answered, the source is there.
      this.#answered(connection, fault);
      if (found.code === 'SOURCE_REFUSED') this.#reopen(connection, opened);
      return;
    }
    // Others were answered meanwhile: this one question is slow, not the source.
    if (found.code === 'SOURCE_TIMEOUT' && connection.answers !== answers) return;
    const { clock, random } = this.#options;
    // Of many that were under way together the first one to fail counts.
    if (connection.fault === fault) connection.failures += 1;
    connection.fault = found;
    const pause = Math.min(
      found.retryAfterMs ?? backoffMs(sourceBackoff, connection.failures, random),
      longestPauseMs,
    );
    connection.notBefore = Math.max(connection.notBefore, clock.elapsed() + pause);
    if (found.code !== 'SOURCE_BUSY') this.#reopen(connection, opened);
  }

  /** Lets the next use open anew; what still uses the old connection may finish. */
  #reopen(connection: Connection, opened: Opened): void {
    opened.retired = true;
    if (connection.opened === opened) connection.opened = undefined;
  }

  #retire(connection: Connection): void {
    const { opened, bound } = connection;
    connection.idle?.[Symbol.dispose]();
    connection.opened = undefined;
    if (opened !== undefined) this.#letGo(bound, opened);
  }

  /** Closes it, now or when the last use has ended. */
  #letGo(bound: BoundRead, opened: Opened): void {
    opened.retired = true;
    if (opened.inUse === 0) this.#close(bound, opened);
  }

  #close(bound: BoundRead, { conn }: Opened): void {
    const closing = close(bound, conn).catch(thrown => {
      this.#options.log.debug('closing a connection failed', {
        type: bound.scaler.type,
        fault: faultOf(thrown),
      });
    });
    this.#closing.add(closing);
    void closing.then(() => this.#closing.delete(closing));
  }
}

/** Who shares the connection, each once, in an order that stays; or for whom it is opened, where nobody keeps it. */
function workloadsOf({ users, bound }: Connection): string[] {
  const sharing = users.size === 0 ? [bound] : users;
  const names = new Set<string>();
  for (const { context } of sharing) names.add(`${context.namespace}/${context.workload}`);
  return [...names].sort();
}

async function close({ scaler }: BoundRead, opening: Promise<unknown>): Promise<void> {
  // One that never opened has nothing to close.
  const conn = await opening.catch(() => undefined);
  if (conn !== undefined) await scaler.close(conn);
}

/** The deadline explains whatever an interrupted client throws. */
function explain(thrown: unknown, signal: AbortSignal): Fault {
  if (thrown instanceof Fault) return thrown;
  if (signal.aborted && signal.reason instanceof Fault) return signal.reason;
  return faultOf(thrown, 'INTERNAL');
}
