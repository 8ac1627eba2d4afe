import { Fault } from '../../base/errors.ts';
import { networkFault } from '../../base/http.ts';
import { decimalOf } from './go-number.ts';

/** What stands in one cell, as the database writes it; drivers that give numbers may leave them so. */
export type Cell = string | number | bigint | null;

/** The first row of what a query gave, and how many columns there are; no row where there is none. */
export interface SqlAnswer {
  columns: number;
  row: readonly Cell[] | undefined;
}

/** One session of a database, which answers one query at a time. */
export interface SqlLink extends AsyncDisposable {
  /** False once either side has closed it; then it stays closed. */
  readonly open: boolean;
  /**
   * Asks one query. After an abort it rejects at once, while the server is told to stop the query.
   *
   * @throws Fault of the source
   */
  ask(query: string, signal: AbortSignal): Promise<SqlAnswer>;
  /** Resolves once nothing is under way any more; never rejects. */
  settled(): Promise<void>;
}

/**
 * How long a query may take, in milliseconds. KEDA sets no limit to queries of databases; most that take longer than
 * others' requests are counts of large tables.
 */
export const queryTimeoutMs = 10_000;
/** Sessions of one database and identity. */
const mostLinks = 5;
/** What is spared longer than this, in milliseconds, is closed while another one is used. */
const spareMs = 60_000;

interface Spare {
  link: SqlLink;
  /** When it was last used, epoch milliseconds; infinite where it never was. */
  since: number;
}

interface PoolOptions {
  /** Names the database in sentences. */
  name: string;
  connect(signal: AbortSignal): Promise<SqlLink>;
}

/** What a query is asked with. */
export interface AskOptions {
  signal: AbortSignal;
  /** Epoch milliseconds. */
  now: number;
}

/**
 * The few sessions that all triggers on one database share. One is open at first; more come only while all are in
 * use, and go again. Lost ones are replaced when they are needed.
 */
export class SqlPool implements AsyncDisposable {
  readonly name: string;
  readonly #connect: (signal: AbortSignal) => Promise<SqlLink>;
  readonly #links = new Set<SqlLink>();
  readonly #spares: Spare[] = [];
  readonly #line: (() => void)[] = [];
  #taken = 0;
  #closed = false;

  private constructor({ name, connect }: PoolOptions) {
    this.name = name;
    this.#connect = connect;
  }

  /** Makes a pool with its first session open. @throws Fault of the source */
  static async open(options: PoolOptions, signal: AbortSignal): Promise<SqlPool> {
    const pool = new SqlPool(options);
    pool.#spares.push({ link: await pool.#connected(signal), since: Number.POSITIVE_INFINITY });
    return pool;
  }

  /** How many sessions are open. */
  get links(): number {
    return this.#links.size;
  }

  /**
   * The one number that a query gives.
   *
   * @throws Fault of the source; SOURCE_ANSWER_INVALID where the answer is not one number
   */
  async number(query: string, options: AskOptions): Promise<number> {
    return numberOf(await this.ask(query, options), this.name);
  }

  /** The first row that a query gives. @throws Fault of the source */
  async ask(query: string, { signal, now }: AskOptions): Promise<SqlAnswer> {
    await this.#turn(signal);
    let link: SqlLink | undefined;
    try {
      const spare = this.#spare();
      link = spare ?? (await this.#connected(signal));
      try {
        return await link.ask(query, signal);
      } catch (thrown) {
        // A server that was restarted has forgotten its sessions: a query that only reads may be asked twice.
        const lost = spare !== undefined && thrown instanceof Fault && thrown.code === 'SOURCE_UNREACHABLE';
        if (!lost || signal.aborted || this.#closed) throw thrown;
        link = await this.#connected(signal);
        return await link.ask(query, signal);
      }
    } finally {
      void this.#back(link, now);
    }
  }

  /** Closes every session; a second call does nothing. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#spares.length = 0;
    await Promise.all([...this.#links].map(link => this.#drop(link)));
  }

  async #turn(signal: AbortSignal): Promise<void> {
    if (this.#taken < mostLinks) this.#taken += 1;
    else await this.#inLine(signal);
    if (!this.#closed) return;
    this.#passTurn();
    throw new Fault('CANCELLED', `the connection to ${this.name} was closed`);
  }

  #inLine(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const go = () => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = () => {
        this.#line.splice(this.#line.indexOf(go), 1);
        reject(networkFault(signal.reason, this.name, signal));
      };
      if (signal.aborted) return reject(networkFault(signal.reason, this.name, signal));
      signal.addEventListener('abort', leave, { once: true });
      this.#line.push(go);
    });
  }

  #passTurn(): void {
    const next = this.#line.shift();
    if (next === undefined) this.#taken -= 1;
    else next();
  }

  #spare(): SqlLink | undefined {
    for (let spare = this.#spares.pop(); spare !== undefined; spare = this.#spares.pop()) {
      if (spare.link.open) return spare.link;
      void this.#drop(spare.link);
    }
    return undefined;
  }

  async #connected(signal: AbortSignal): Promise<SqlLink> {
    const link = await this.#connect(signal);
    if (this.#closed) {
      await link[Symbol.asyncDispose]();
      throw new Fault('CANCELLED', `the connection to ${this.name} was closed`);
    }
    this.#links.add(link);
    return link;
  }

  /** A session whose query was given up keeps its place until the server has let go of the query. */
  async #back(link: SqlLink | undefined, now: number): Promise<void> {
    await link?.settled();
    if (link?.open && !this.#closed) this.#spares.push({ link, since: now });
    else if (link !== undefined) void this.#drop(link);
    for (const each of this.#links) if (!each.open) void this.#drop(each);
    const [longest] = this.#spares;
    if (longest !== undefined && this.#spares.length > 1 && now - longest.since > spareMs) {
      this.#spares.shift();
      void this.#drop(longest.link);
    }
    this.#passTurn();
  }

  async #drop(link: SqlLink): Promise<void> {
    this.#links.delete(link);
    await link[Symbol.asyncDispose]();
  }
}

/**
 * The number in an answer, as KEDA's `Scan` takes it: the one column of the first row, a text if it reads as a
 * number. Negative numbers are numbers.
 *
 * @param what names the database
 * @throws Fault SOURCE_ANSWER_INVALID; what stood there is not said, since it may be anybody's data
 */
export function numberOf({ columns, row }: SqlAnswer, what: string): number {
  const invalid = (said: string) => new Fault('SOURCE_ANSWER_INVALID', `${what}: ${said}`);
  if (row === undefined) throw invalid('the query gives no row; it must always give one number');
  if (columns !== 1) throw invalid(`the query gives ${columns} columns; it must give one number`);
  const [cell = null] = row;
  if (cell === null) throw invalid('the query gives NULL; COALESCE(…, 0) would make a number of it');
  const value = typeof cell === 'string' ? decimalOf(cell) : Number(cell);
  if (value === undefined) throw invalid('the query gives something that is no number');
  if (!Number.isFinite(value)) throw invalid('the query gives a number that is too large, or none at all');
  return value;
}
