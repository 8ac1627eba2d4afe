import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** What the source is told. */
export interface SourceOrder {
  /** The value of every query of a group. */
  set?: Record<string, number>;
  /** Take requests and do not answer them. */
  hang?: boolean;
}

/** What it has seen since it started. */
export interface SourceCounts {
  reads: number;
  connections: number;
  /** When the order was followed, epoch milliseconds. */
  at: number;
}

/** The one system that all triggers of the bench read, in a process of its own. */
export interface Source extends AsyncDisposable {
  /** What triggers name as `serverAddress`. */
  readonly address: string;
  tell(order: SourceOrder): Promise<SourceCounts>;
}

/** @param host where the operator finds this machine */
export async function startSource(host = '127.0.0.1'): Promise<Source> {
  const listenOn = host === '127.0.0.1' ? host : '0.0.0.0';
  const child = fork(fileURLToPath(new URL('source-process.ts', import.meta.url)), [listenOn]);
  const [{ port }] = (await once(child, 'message')) as [{ port: number }];
  let last: Promise<unknown> = Promise.resolve();
  return {
    address: `http://${host}:${port}`,
    tell(order) {
      // One order after the other, so that each has its own answer.
      const answer = last.then(async () => {
        child.send(order);
        return ((await once(child, 'message')) as [SourceCounts])[0];
      });
      last = answer.catch(() => undefined);
      return answer;
    },
    async [Symbol.asyncDispose]() {
      if (child.connected) child.disconnect();
    },
  };
}
