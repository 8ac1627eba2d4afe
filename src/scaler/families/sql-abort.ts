import { networkFault } from '../../base/http.ts';

interface Abort {
  signal: AbortSignal;
  /** Names the source. */
  name: string;
  /** Called when the signal is aborted while the work is under way. */
  giveUp(): void;
}

/** What the work comes to, or the signal's reason as soon as it is aborted; the work goes on until it ends by itself. */
export function underAbort<T>(work: Promise<T>, { signal, name, giveUp }: Abort): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      giveUp();
      reject(networkFault(signal.reason, name, signal));
    };
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}
