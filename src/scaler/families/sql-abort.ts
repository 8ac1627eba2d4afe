import { deadline } from '../../base/deadline.ts';
import { Fault } from '../../base/errors.ts';
import { networkFault } from '../../base/http.ts';
import type { ByteChannel } from './byte-channel.ts';

/** How long the server has to say that it stopped a query, in milliseconds; then the session is given up. */
const stopMs = 2000;

interface Abort {
  signal: AbortSignal;
  channel: ByteChannel;
  /** Tells the server to stop, over a connection of its own. */
  tell(signal: AbortSignal): Promise<void>;
}

/**
 * What the query comes to, or the signal's reason as soon as it is aborted. Then the server is told to stop, and a
 * session where it does not is closed.
 */
export function stoppable<T>(query: Promise<T>, { signal, channel, tell }: Abort): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      void stopQuery(query, channel, tell);
      reject(networkFault(signal.reason, channel.name, signal));
    };
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
    query.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

async function stopQuery(query: Promise<unknown>, channel: ByteChannel, tell: Abort['tell']): Promise<void> {
  using limit = deadline(undefined, stopMs);
  const late = new Promise<'late'>(resolve =>
    limit.signal.addEventListener('abort', () => resolve('late'), { once: true }),
  );
  const over = query.then(
    () => 'over',
    () => 'over',
  );
  // Where it cannot be told, closing the session is what the server notices in the end.
  const told = tell(limit.signal).then(
    () => over,
    () => 'late',
  );
  const outcome = await Promise.race([over, told, late]);
  if (outcome === 'late')
    channel.close(new Fault('SOURCE_TIMEOUT', `${channel.name} did not stop the query`));
}
