import { Fault } from '../base/errors.ts';
import type { WatchEvent } from './client.ts';
import type { KubeObject } from './objects.ts';
import { isStatus, statusFault } from './status-fault.ts';

const newline = 0x0a;

/** etcd takes objects of 1.5 MiB; JSON with its escapes makes a few times that. */
const longestLine = 64 * 1024 * 1024;

/** Splits bytes into lines. A character may be cut anywhere: only whole lines are decoded. */
export function lineSplitter(): { push(chunk: Buffer): string[] } {
  let begun: Buffer[] = [];
  let begunBytes = 0;
  return {
    push(chunk) {
      const lines: string[] = [];
      let from = 0;
      for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, from)) {
        if (begun.length === 0) {
          if (end > from) lines.push(chunk.toString('utf8', from, end));
        } else {
          begun.push(chunk.subarray(from, end));
          lines.push(Buffer.concat(begun).toString('utf8'));
          begun = [];
          begunBytes = 0;
        }
        from = end + 1;
      }
      if (from < chunk.length) {
        begun.push(from === 0 ? chunk : chunk.subarray(from));
        begunBytes += chunk.length - from;
        if (begunBytes > longestLine) throw new Fault('KUBE_FAILED', 'a line of the watch does not end');
      }
      return lines;
    },
  };
}

/**
 * One line of a watch.
 *
 * @param doing what is watched, for people: `watch Pod`
 * @returns undefined for a kind of event that we do not know
 * @throws Fault the status of an ERROR, such as KUBE_EXPIRED; KUBE_FAILED where the line cannot be understood
 */
export function watchEventOf<T extends KubeObject>(line: string, doing: string): WatchEvent<T> | undefined {
  const { type, object } = parseLine(line, doing);
  switch (type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
      return { type, object: objectIn<T>(object, doing) };
    case 'BOOKMARK':
      return { type, resourceVersion: objectIn(object, doing).metadata.resourceVersion };
    case 'ERROR': {
      const status = isStatus(object) ? object : undefined;
      throw statusFault(status?.code ?? 500, status, { doing });
    }
    default:
      return undefined;
  }
}

function parseLine(line: string, doing: string): { type?: unknown; object?: unknown } {
  try {
    return JSON.parse(line) ?? {};
  } catch {
    throw noEvent(doing);
  }
}

function objectIn<T extends KubeObject>(object: unknown, doing: string): T {
  const metadata = (object as Partial<KubeObject> | undefined)?.metadata;
  if (typeof metadata?.resourceVersion !== 'string') throw noEvent(doing);
  return object as T;
}

// Without the line: it may hold a Secret.
const noEvent = (doing: string) =>
  new Fault('KUBE_FAILED', `cannot ${doing}: the API server sent a line that is no event`);
