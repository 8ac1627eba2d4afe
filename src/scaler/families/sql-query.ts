import { deadline } from '../../base/deadline.ts';
import { Fault } from '../../base/errors.ts';
import { networkFault } from '../../base/http.ts';
import type { ByteChannel } from './byte-channel.ts';

/** How long the server has to say that it stopped a query, in milliseconds; then the session is given up. */
const stopMs = 2000;

/**
 * Has the server stop what a session does, over a connection of its own; resolves when the server has heard it.
 *
 * @param isWanted false once there is nothing to stop any more
 */
type Tell = (signal: AbortSignal, isWanted: () => boolean) => Promise<void>;

/**
 * The query that a session is busy with. When nobody waits for it any more the server is told to stop it: a session
 * that is only closed may go on with it to its end.
 */
export class QueryUnderWay {
  readonly #channel: ByteChannel;
  readonly #tell: Tell;
  #over: Promise<unknown> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(channel: ByteChannel, tell: Tell) {
    this.#channel = channel;
    this.#tell = tell;
  }

  /**
   * What the query comes to, or the signal's reason as soon as it is aborted.
   *
   * @param start begins it; not called where the signal is aborted already
   */
  async run<T>(start: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const { name } = this.#channel;
    if (signal.aborted) throw networkFault(signal.reason, name, signal);
    const query = start();
    const over = query
      .catch(() => {})
      .then(() => {
        this.#over = undefined;
      });
    this.#over = over;
    return await new Promise<T>((resolve, reject) => {
      const stop = () => {
        void this.stop();
        reject(networkFault(signal.reason, name, signal));
      };
      signal.addEventListener('abort', stop, { once: true });
      query.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
    });
  }

  /** Resolves once nothing is under way any more. */
  async settled(): Promise<void> {
    await this.#over;
    await this.#stopping;
  }

  /** Has the server stop what is under way, or closes the session where it does not. */
  async stop(): Promise<void> {
    const over = this.#over;
    if (over === undefined) return;
    this.#stopping ??= this.#stop(over).finally(() => {
      this.#stopping = undefined;
    });
    await this.#stopping;
  }

  async #stop(over: Promise<unknown>): Promise<void> {
    using limit = deadline(undefined, stopMs);
    const { signal } = limit;
    const late = new Promise<false>(resolve =>
      signal.addEventListener('abort', () => resolve(false), { once: true }),
    );
    const isWanted = () => this.#over === over;
    const telling = this.#tell(signal, isWanted).then(
      () => true,
      () => false,
    );
    // Waited for also where the query is over by then: the next one must not be stopped in its place.
    if (await Promise.race([telling, late])) await Promise.race([over, late]);
    if (!isWanted()) return;
    // Where the server cannot be told, a session that is closed is what it notices in the end.
    const { name } = this.#channel;
    this.#channel.close(new Fault('SOURCE_TIMEOUT', `${name} did not stop the query`));
  }
}
