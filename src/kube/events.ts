import { setMaxListeners } from 'node:events';
import type { Clock } from '../base/clock.ts';
import { type Fault, faultOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type Backoff, backoffMs } from '../base/retry.ts';
import { fingerprint } from '../base/secret.ts';
import type { KubeClient } from './client.ts';
import { resources } from './objects.ts';

/** The object an event is about. */
export interface Regarding {
  apiVersion: string;
  kind: string;
  /** Left out for kinds without namespaces. */
  namespace?: string;
  name: string;
  uid: string;
}

/** Something to be told as an Event. */
export interface EventNote {
  regarding: Regarding;
  type: 'Normal' | 'Warning';
  /** One word for machines. */
  reason: string;
  /** For people; cut at 1 KiB. */
  note: string;
  /** What was done, one word too; the reason unless given. */
  action?: string;
  /** `keda-operator` unless given. */
  controller?: 'keda-operator' | 'scale-handler';
  /** Every note of its own matters, so it is not counted into a series that keeps the first one. */
  alone?: boolean;
}

export interface EventRecorderOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  /** Who we are among the replicas of the operator, such as the name of its pod. */
  instance: string;
  /** How many may wait to be sent; 5000 unless given. */
  most?: number;
  random?: () => number;
}

/** Tells of things as Events of events.k8s.io/v1. Nothing waits for it, and nothing fails because of it. */
export interface EventRecorder extends AsyncDisposable {
  record(note: EventNote): void;
  /** Ends when everything recorded so far was sent or given up. @throws the signal's reason */
  flush(signal: AbortSignal): Promise<void>;
  /** How many were not sent because too many waited. */
  readonly dropped: number;
}

/** Repeats within this time make a series, in milliseconds; as in client-go. */
const seriesMs = 6 * 60_000;
/** How often what became of series is sent, in milliseconds. */
const sweepMs = 30_000;
const mostSeries = 4096;
const atOnce = 8;
const longestNote = 1024;
const longestAction = 128;
const backoff: Backoff = { firstMs: 1000, maxMs: 30_000 };

interface Series {
  namespace: string;
  /** Of the Event; undefined while it is not created. */
  name: string | undefined;
  count: number;
  lastAt: number;
  /** The count that the API server knows. */
  sentCount: number;
  queued: boolean;
}

type Errand =
  | { kind: 'create'; note: EventNote; at: number; micros: number; series: Series }
  | { kind: 'series'; series: Series };

/** Starts with nothing to tell. Disposing it gives up what waits. */
export function eventRecorder(options: EventRecorderOptions): EventRecorder {
  const { client, clock, log, instance, most = 5000, random = Math.random } = options;
  const stop = new AbortController();
  // Every call under way listens to it.
  setMaxListeners(0, stop.signal);
  const all = new Map<string, Series>();
  const queue: Errand[] = [];
  const waiters: (() => void)[] = [];
  let sending = 0;
  let failures = 0;
  let pause: Disposable | undefined;
  let sweeper: Disposable | undefined;
  let dropped = 0;
  let saidDropped = false;
  let serial = 0;
  let recordedAt = 0;
  let micros = 0;

  function record(note: EventNote): void {
    if (stop.signal.aborted) return;
    const now = clock.now();
    const key = keyOf(note);
    const known = note.alone ? undefined : all.get(key);
    if (known !== undefined && now - known.lastAt < seriesMs) {
      known.count += 1;
      known.lastAt = now;
      sweepLater();
      return;
    }
    const namespace = note.regarding.namespace ?? 'default';
    const series = { namespace, name: undefined, count: 1, lastAt: now, sentCount: 1, queued: false };
    // What was told in one millisecond is to be read in the order in which it was.
    micros = now === recordedAt ? Math.min(micros + 1, 999) : 0;
    recordedAt = now;
    push({ kind: 'create', note, at: now, micros, series });
    if (note.alone) return;
    all.delete(key);
    all.set(key, series);
    if (all.size > mostSeries) all.delete(all.keys().next().value ?? '');
    sweepLater();
  }

  function push(errand: Errand): void {
    if (queue.length >= most) {
      queue.shift();
      dropped += 1;
      if (!saidDropped) log.warn('events are dropped, because too many wait to be sent', { waiting: most });
      saidDropped = true;
    }
    queue.push(errand);
    send();
  }

  function send(): void {
    while (sending < atOnce && queue.length > 0 && pause === undefined && !stop.signal.aborted) {
      const errand = queue.shift();
      if (errand === undefined) break;
      sending += 1;
      void run(errand).then(() => {
        sending -= 1;
        send();
        quiet();
      });
    }
    quiet();
  }

  function quiet(): void {
    if (sending > 0 || queue.length > 0) return;
    saidDropped = false;
    for (const resolve of waiters.splice(0)) resolve();
  }

  async function run(errand: Errand): Promise<void> {
    try {
      if (errand.kind === 'create') await create(errand);
      else await update(errand.series);
      failures = 0;
    } catch (thrown) {
      const fault = faultOf(thrown);
      if (stop.signal.aborted) return;
      if (!mayPass(fault)) return log.debug('an event was not accepted', { fault });
      failures += 1;
      queue.unshift(errand);
      pause ??= clock.after(backoffMs(backoff, failures, random), () => {
        pause = undefined;
        send();
      });
    }
  }

  async function create({ note, at, micros, series }: Errand & { kind: 'create' }): Promise<void> {
    serial += 1;
    const name = eventName(note.regarding.name, `${at}/${serial}/${instance}`);
    const write = { urgency: 'event', signal: stop.signal } as const;
    await client.create(
      resources.events,
      eventObject(note, { at, micros, instance, name, namespace: series.namespace }),
      write,
    );
    series.name = name;
  }

  async function update(series: Series): Promise<void> {
    series.queued = false;
    const { namespace, name, count, lastAt } = series;
    if (name === undefined) return;
    const patch = { series: { count, lastObservedTime: microTime(lastAt) } };
    const write = { type: 'merge', urgency: 'event', signal: stop.signal } as const;
    await client.patch(resources.events, { namespace, name }, patch, write);
    series.sentCount = count;
  }

  function sweepLater(): void {
    sweeper ??= clock.after(sweepMs, () => {
      sweeper = undefined;
      const now = clock.now();
      for (const [key, series] of all) {
        if (series.count > series.sentCount && series.name !== undefined && !series.queued) {
          series.queued = true;
          push({ kind: 'series', series });
        } else if (Math.abs(now - series.lastAt) >= seriesMs) all.delete(key);
      }
      if (all.size > 0) sweepLater();
    });
  }

  return {
    record,
    flush(signal) {
      return new Promise((resolve, reject) => {
        if (signal.aborted) return reject(signal.reason);
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
        waiters.push(resolve);
        quiet();
      });
    },
    get dropped() {
      return dropped;
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      pause?.[Symbol.dispose]();
      sweeper?.[Symbol.dispose]();
      queue.length = 0;
      quiet();
    },
  };
}

/** Whether trying again can help: not where the namespace is going, or the event itself is not accepted. */
function mayPass({ code }: Fault): boolean {
  return code === 'KUBE_UNREACHABLE' || code === 'KUBE_FAILED';
}

function keyOf({ regarding, type, reason, action = reason, controller }: EventNote): string {
  return [
    regarding.kind,
    regarding.namespace,
    regarding.name,
    regarding.uid,
    type,
    reason,
    action,
    controller,
  ].join('/');
}

function eventName(object: string, seed: string): string {
  return `${object.slice(0, 230)}.${fingerprint(seed)}`;
}

function eventObject(
  note: EventNote,
  {
    at,
    micros,
    instance,
    name,
    namespace,
  }: { at: number; micros: number; instance: string; name: string; namespace: string },
) {
  const { regarding, type, reason, action = reason, controller = 'keda-operator' } = note;
  return {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { name, namespace },
    eventTime: microTime(at, micros),
    reportingController: controller,
    reportingInstance: `${controller}-${instance}`.slice(0, longestAction),
    action: action.slice(0, longestAction),
    reason,
    regarding,
    note: cut(note.note),
    type,
  };
}

function cut(text: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= longestNote) return text;
  // Half a letter at the end is dropped.
  return `${bytes
    .subarray(0, longestNote - 4)
    .toString('utf8')
    .replace(/\ufffd+$/, '')}…`;
}

function microTime(at: number, micros = 0): string {
  return new Date(at).toISOString().replace('Z', `${String(micros).padStart(3, '0')}Z`);
}
