import type { Clock } from '../base/clock.ts';
import { orAborted } from '../base/deadline.ts';
import { Fault } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Report } from '../engine/ports.ts';
import type { ScaledObject, Workload } from '../spec/workload.ts';
import type { KubeClient } from './client.ts';
import type { EventRecorder, Regarding } from './events.ts';
import { keyedWork } from './keyed-work.ts';
import { type KubeObject, resources } from './objects.ts';
import { eventsOf } from './report-events.ts';
import {
  conditionIn,
  type Refusal,
  refusedStatus,
  type Status,
  type StatusFacts,
  statusOf,
  statusPatch,
  timeText,
} from './status-object.ts';

/** An object of ours as the API server has it, with its status as JSON: small, and parsed only when it is needed. */
export interface LiveObject {
  readonly uid: string;
  readonly status: string;
}

/** What is told of an object that is not run, by names alone. */
export interface Identity {
  kind: Workload['kind'];
  key: string;
  namespace: string;
  name: string;
  uid: string;
}

export interface StatusWriterOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  events: EventRecorder;
  /** The live object of a workload's key; undefined where there is none. */
  live(key: string): LiveObject | undefined;
  /** The answer to a write, which the watch will only bring later. */
  onWritten(key: string, object: KubeObject): void;
  /** What the cluster knows of a target and its HorizontalPodAutoscaler; nothing unless given. */
  facts?(workload: ScaledObject): StatusFacts;
  random?: () => number;
}

/** Writes all status of ScaledObjects and ScaledJobs, only what changed and the latest only, and tells of it as events. */
export interface StatusWriter extends AsyncDisposable {
  report(workload: Workload, report: Report): void;
  /** The current version cannot be run; an earlier one that runs may go on reporting. */
  refuse(object: Identity, refusal: Refusal): void;
  /** The current version can be run. */
  accept(key: string): void;
  /** Nothing more is to be written of it. */
  forget(key: string): void;
  /** Writes what waits and, of what is active, that it was until now. @throws the signal's reason */
  flush(signal: AbortSignal): Promise<void>;
}

interface Known {
  kind: Workload['kind'];
  namespace: string;
  name: string;
  workload: Workload | undefined;
  report: Report | undefined;
  refusal: Refusal | undefined;
}

/** How far apart two writes of one status are, in milliseconds: ten edits a second are not ten writes. */
const spacingMs = 1000;
const nothing: StatusFacts = {};
const unknown: Status = {};
const kinds = { ScaledObject: resources.scaledObjects, ScaledJob: resources.scaledJobs } as const;

/** Starts with nothing to write. */
export function statusWriter(options: StatusWriterOptions): StatusWriter {
  const { client, clock, log, events, live, onWritten, random = Math.random } = options;
  const all = new Map<string, Known>();
  let leaving = false;
  const writes = keyedWork({
    clock,
    work: write,
    spacingMs,
    random,
    onFault(key, fault, failures) {
      // One line when it begins; the same fault again and again is no news.
      if (failures === 1) log.warn('the status cannot be written now', { workload: key, fault });
    },
  });

  function known(key: string, { kind, namespace, name }: Pick<Known, 'kind' | 'namespace' | 'name'>): Known {
    const found = all.get(key);
    if (found !== undefined) return found;
    const made = { kind, namespace, name, workload: undefined, report: undefined, refusal: undefined };
    all.set(key, made);
    return made;
  }

  async function write(key: string, signal: AbortSignal): Promise<void> {
    const one = all.get(key);
    const object = live(key);
    if (one === undefined || object === undefined) return;
    const { kind, namespace, name } = one;
    const patch = statusPatch(statusIn(object), wantedOf(one, statusIn(object)));
    if (patch === undefined) return;
    const how = { type: 'merge', subresource: 'status', urgency: 'status', signal } as const;
    try {
      onWritten(key, await client.patch(kinds[kind], { namespace, name }, patch, how));
    } catch (thrown) {
      // Gone meanwhile: the watch will say so, and there is nothing to write to.
      if (!(thrown instanceof Fault && thrown.code === 'KUBE_NOT_FOUND')) throw thrown;
    }
  }

  function wantedOf({ kind, workload, report, refusal }: Known, current: Status): Status {
    if (workload === undefined || report === undefined) {
      return refusal === undefined ? current : refusedStatus(kind, current, refusal);
    }
    const facts = workload.kind === 'ScaledObject' ? (options.facts?.(workload) ?? nothing) : nothing;
    const wanted = statusOf(workload, report, { live: current, facts, refusal });
    if (leaving && report.active.status === 'True') wanted.lastActiveTime = timeText(clock.now());
    return wanted;
  }

  return {
    report(workload, report) {
      const { key } = workload;
      const object = live(key);
      // The last words of a run whose object is gone, or is another one by now.
      if (object === undefined || object.uid !== workload.uid) return;
      const one = known(key, workload);
      // Once a report was seen, it says more than the status does.
      const before = { report: one.report, live: one.report === undefined ? statusIn(object) : unknown };
      for (const told of eventsOf(workload, report, before)) {
        events.record({ ...told, regarding: regarding(workload) });
      }
      one.workload = workload;
      one.report = report;
      writes.ask(key);
    },
    refuse(object, refusal) {
      const one = known(object.key, object);
      if (one.refusal?.message === refusal.message) return;
      one.refusal = refusal;
      const current = live(object.key);
      const reason = `${object.kind}CheckFailed`;
      const was = current && conditionIn(statusIn(current), 'Ready');
      if (was?.reason !== reason || was.message !== refusal.message) {
        events.record({ regarding: regarding(object), type: 'Warning', reason, note: refusal.message });
      }
      writes.ask(object.key);
    },
    accept(key) {
      const one = all.get(key);
      if (one?.refusal === undefined) return;
      one.refusal = undefined;
      const { workload, report } = one;
      if (workload === undefined || report === undefined) return;
      if (report.ready.status === 'True') {
        const told = { type: 'Normal', reason: `${workload.kind}Ready`, note: report.ready.message } as const;
        events.record({ ...told, regarding: regarding(workload) });
      }
      writes.ask(key);
    },
    forget(key) {
      all.delete(key);
      writes.drop(key);
    },
    async flush(signal) {
      leaving = true;
      for (const [key, { report }] of all) if (report?.active.status === 'True') writes.ask(key);
      await orAborted(writes.flush(), signal);
    },
    async [Symbol.asyncDispose]() {
      await writes[Symbol.asyncDispose]();
      all.clear();
    },
  };
}

/** What an event about a workload is about. */
export function regarding({ kind, namespace, name, uid }: Omit<Identity, 'key'>): Regarding {
  return { apiVersion: 'keda.sh/v1alpha1', kind, namespace, name, uid };
}

function statusIn({ status }: LiveObject): Status {
  return JSON.parse(status) as Status;
}
