import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { backoffMs } from '../base/retry.ts';
import { isRecord } from '../spec/field-path.ts';

const format = 1;
const retry = { firstMs: 1000, maxMs: 30_000 };
/** How long changes that nobody waits for may be collected. */
const lazyMs = 100;

/**
 * Records by key in one JSON file, which is replaced as a whole by a rename and so is never half written. It
 * survives the end of any process; it is not forced onto the disk, for nothing it speaks of survives a power cut.
 */
export class StateFile implements AsyncDisposable {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #log: Log;
  /** Each record as JSON already, so that a write costs its changes only. */
  readonly #records: Map<string, string>;
  #changed = false;
  #writing: Promise<void> | undefined;
  #failures = 0;
  #later: Disposable | undefined;
  /** Those that wait for the next write that succeeds. */
  #waiting: (() => void)[] = [];

  private constructor(
    path: string,
    records: Map<string, string>,
    { clock, log }: { clock: Clock; log: Log },
  ) {
    this.#path = path;
    this.#records = records;
    this.#clock = clock;
    this.#log = log;
  }

  /** @throws Fault WORLD_FAILED for a file that another version, or somebody else, wrote */
  static async open(path: string, deps: { clock: Clock; log: Log }): Promise<StateFile> {
    const text = await readFile(path, 'utf8').catch((thrown: NodeJS.ErrnoException) => {
      if (thrown.code === 'ENOENT') return undefined;
      throw new Fault('WORLD_FAILED', `the state file ${path} cannot be read: ${thrown.message}`, {
        cause: thrown,
      });
    });
    return new StateFile(path, text === undefined ? new Map() : parse(text, path), deps);
  }

  /** The records whose keys begin so, as they were last set. */
  *withPrefix(prefix: string): Generator<[key: string, record: unknown]> {
    for (const [key, json] of this.#records) if (key.startsWith(prefix)) yield [key, JSON.parse(json)];
  }

  /** Keeps a record: in the file a moment later, and at once where a `flush` follows. */
  set(key: string, record: unknown): void {
    const json = JSON.stringify(record);
    if (this.#records.get(key) === json) return;
    this.#records.set(key, json);
    this.#change();
  }

  delete(key: string): void {
    if (this.#records.delete(key)) this.#change();
  }

  /**
   * Ends when all that was set is in the file. All changes made while one write is under way share the next.
   * Never fails: where the file cannot be written that is logged once, tried again, and we go on in memory.
   */
  async flush(): Promise<void> {
    // The write under way may have begun before the change; the one after it has not.
    await this.#writing;
    if (this.#changed && this.#failures === 0) await this.#write();
    else await this.#writing;
  }

  /** Calls back when all that was set is really in the file, without hurrying it. */
  onceWritten(then: () => void): void {
    if (this.#changed) this.#waiting.push(then);
    else if (this.#writing === undefined) then();
    else void this.#writing.then(() => this.onceWritten(then));
  }

  /** Writes what is left, and stops trying. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.flush();
    this.#later?.[Symbol.dispose]();
  }

  #change(): void {
    this.#changed = true;
    if (this.#writing === undefined && this.#failures === 0) this.#writeAfter(lazyMs);
  }

  #writeAfter(ms: number): void {
    this.#later ??= this.#clock.after(ms, () => {
      this.#later = undefined;
      void this.#write();
    });
  }

  #write(): Promise<void> {
    this.#later?.[Symbol.dispose]();
    this.#later = undefined;
    this.#writing ??= this.#writeOnce().finally(() => {
      this.#writing = undefined;
      if (this.#changed) this.#writeAfter(this.#failures > 0 ? backoffMs(retry, this.#failures) : lazyMs);
    });
    return this.#writing;
  }

  async #writeOnce(): Promise<void> {
    // Changes of one turn of the event loop go together.
    await new Promise<void>(resolve => setImmediate(resolve));
    this.#changed = false;
    const waiting = this.#waiting.splice(0);
    const records = [...this.#records].map(([key, json]) => `${JSON.stringify(key)}:${json}`);
    const temporary = `${this.#path}.tmp`;
    try {
      await writeFile(temporary, `{"format":${format},"records":{${records.join(',\n')}}}\n`, {
        mode: 0o600,
      });
      await rename(temporary, this.#path);
    } catch (thrown) {
      this.#waiting.unshift(...waiting);
      this.#failed(thrown as Error);
      return;
    }
    if (this.#failures > 0) this.#log.info('the state file can be written again', { file: this.#path });
    this.#failures = 0;
    for (const then of waiting) then();
  }

  #failed(cause: Error): void {
    this.#changed = true;
    this.#failures += 1;
    if (this.#failures === 1) {
      const sentence = `the state file ${this.#path} cannot be written (${cause.message}); eventide goes on, but would not find its jobs again after a crash`;
      this.#log.error('the state file cannot be written', {
        fault: new Fault('STATE_UNWRITABLE', sentence, { cause }),
      });
    }
  }

  /** Removes the file. Nothing may be set afterwards. */
  async remove(): Promise<void> {
    await Promise.all([this.#path, `${this.#path}.tmp`].map(path => rm(path, { force: true })));
  }
}

function parse(text: string, path: string): Map<string, string> {
  try {
    const read: unknown = JSON.parse(text);
    if (isRecord(read) && read['format'] === format && isRecord(read['records']))
      return new Map(Object.entries(read['records']).map(([key, record]) => [key, JSON.stringify(record)]));
  } catch {
    // Said below.
  }
  throw new Fault(
    'WORLD_FAILED',
    `${path} is not a state file of this version of eventide; remove it to begin anew, or give --state another folder`,
  );
}
