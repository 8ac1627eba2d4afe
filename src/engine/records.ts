import type { Fault } from '../base/errors.ts';
import { flatten } from '../base/flatten.ts';
import { type DirectDecision, type DirectLimits, type DirectSeen, decideReplicas } from '../decide/direct.ts';
import { decideJobs, type JobDecision, type JobLimits, type JobsSeen } from '../decide/jobs.ts';
import { decideScale, type Limits, type ScaleDecision, type Seen } from '../decide/replicas.ts';

/** What a decision about a ScaledObject went by and came to. */
export interface ReplicasRecord {
  kind: 'replicas';
  seen: DirectSeen;
  limits: DirectLimits;
  decision: DirectDecision;
}

/** What a decision about a ScaledObject went by and came to where a HorizontalPodAutoscaler sets what is above one. */
export interface ActivationRecord {
  kind: 'activation';
  seen: Seen;
  limits: Limits;
  decision: ScaleDecision;
}

/** What a decision about a ScaledJob whose Jobs fetch their messages themselves went by and came to. */
export interface JobsRecord {
  kind: 'jobs';
  seen: JobsSeen;
  limits: JobLimits;
  decision: JobDecision;
}

/** What was delivered to Jobs at a moment. */
export interface DeliveryRecord {
  kind: 'delivery';
  seen: { unfinished: number; maxReplicaCount: number };
  decision: { created: number; why: string };
}

/** A trigger as it was at the decision. */
export interface TriggerRecord {
  name: string;
  type: string;
  value: number | undefined;
  target: string;
  active: boolean;
  /** When it was read, epoch milliseconds; undefined where it was not. */
  at: number | undefined;
  fault?: Fault;
}

export type Decided = ReplicasRecord | ActivationRecord | JobsRecord | DeliveryRecord;

/** One decision with all its inputs: enough to compute it again. */
export type DecisionRecord = Decided & {
  /** Epoch milliseconds: when it was decided first, and last where the same was decided again. */
  at: number;
  lastAt: number;
  times: number;
  triggers: readonly TriggerRecord[];
  /** Why the world did not do what was decided. */
  failed?: Fault;
};

/** Decides again from what a record holds; the outcome is the recorded one. */
export function recompute(record: DecisionRecord): DecisionRecord['decision'] {
  switch (record.kind) {
    case 'replicas':
      return decideReplicas(record.seen, record.limits, record.at);
    case 'activation':
      return decideScale(record.seen, record.limits, record.at);
    case 'jobs':
      return decideJobs(record.seen, record.limits);
    case 'delivery':
      return record.decision;
  }
}

/** The last decisions about one workload. The same decision again is counted, not added. */
export class Records {
  readonly #most: number;
  #ring: DecisionRecord[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  /** Oldest first. */
  get all(): readonly DecisionRecord[] {
    return this.#ring;
  }

  /** @param decided made for this record, which takes it over */
  add(decided: Decided, at: number, rest: { triggers(): readonly TriggerRecord[]; failed?: Fault }): void {
    const last = this.#ring.at(-1);
    if (last !== undefined && rest.failed === undefined && isSame(last, decided)) {
      last.lastAt = at;
      last.times += 1;
      return;
    }
    flatten(decided.decision.why);
    // Added to what the caller made, not spread into another literal: that would give each record a shape of its own.
    const record: DecisionRecord = Object.assign(decided, {
      at,
      lastAt: at,
      times: 1,
      triggers: rest.triggers(),
    });
    if (rest.failed !== undefined) record.failed = rest.failed;
    this.#ring.push(record);
    if (this.#ring.length > this.#most) this.#ring.shift();
  }
}

/** Only decisions to change nothing are ever the same: each change is an event of its own. */
function isSame(last: DecisionRecord, decided: Decided): boolean {
  if (last.kind !== decided.kind || last.failed !== undefined) return false;
  if (last.decision.why !== decided.decision.why) return false;
  return decided.kind === 'delivery' ? decided.decision.created === 0 : decided.decision.kind === 'hold';
}
