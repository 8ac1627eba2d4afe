import type { KnownMessage, Receipt } from '../../scaler/delivery.ts';
import type { Job, JobRequest, Task } from '../ports.ts';
import type { Outlet } from './outlet.ts';
import { hasSucceeded, isUnfinished, type MessageState, settlementOf } from './task-state.ts';

/** One message in one attempt: what we know, and what is under way. */
export interface HeldMessage {
  readonly id: string;
  /** What all attempts of the message are filed under. */
  readonly key: string;
  readonly attempt: number;
  /** Undefined where the trigger it came from is no longer there. */
  readonly outlet: Outlet | undefined;
  state: MessageState;
  receipt: Receipt;
  /** When to extend the claim, on the monotonic clock. */
  extendAt: number;
  /** Kept while it may be needed: to make the Job, and to dead-letter after a last attempt. */
  body: Uint8Array | undefined;
  readonly sentAt: number | undefined;
  readonly claimedAt: number;
  /** Undefined until there is a free slot for its Job. */
  task: HeldTask | undefined;
  /** The one thing that is to happen to it later. */
  later: Disposable | undefined;
  /** A call with its receipt is under way; the next one waits for the receipt that this one may bring. */
  busy: boolean;
  settleNext: boolean;
  /** Of extensions or settlements, in a row. */
  failures: number;
}

/** One Job with its messages. */
export interface HeldTask extends Omit<Task, 'messages' | 'settled'> {
  readonly name: string;
  readonly messages: readonly HeldMessage[];
  /** What to create the Job with, until it is created. */
  request: Pick<JobRequest, 'env' | 'file'> | undefined;
  job: 'none' | 'unfinished' | 'finished' | 'deleted';
  finishedAt: number | undefined;
  /** The task data that is kept with the Job, as JSON. */
  recorded: string | undefined;
  recording: boolean;
  later: Disposable | undefined;
  failures: number;
}

/** A message with nothing under way. */
export function heldMessage(
  known: Pick<HeldMessage, 'id' | 'key' | 'attempt' | 'outlet' | 'receipt' | 'extendAt' | 'claimedAt'> &
    Partial<Pick<HeldMessage, 'state' | 'body' | 'sentAt'>>,
): HeldMessage {
  return {
    state: 'creating',
    body: undefined,
    sentAt: undefined,
    ...known,
    task: undefined,
    later: undefined,
    busy: false,
    settleNext: false,
    failures: 0,
  };
}

/** All messages we know of, by message and by Job. It holds what the world holds: Jobs that are gone leave it. */
export interface Ledger {
  addMessage(message: HeldMessage): void;
  forgetMessage(message: HeldMessage): void;
  addTask(task: HeldTask): void;
  forgetTask(task: HeldTask): void;
  task(jobName: string): HeldTask | undefined;
  tasks(): Iterable<HeldTask>;
  messages(): Iterable<HeldMessage>;
  /**
   * The attempt that decides what to do with a message that the source hands out: one that succeeded, else one
   * that is unfinished, else the latest that failed. Undefined where the message is new.
   */
  decisive(key: string): HeldMessage | undefined;
  /** One more than the highest attempt known; 1 for a message that is new. */
  nextAttempt(key: string): number;
  /** Whether a later attempt of the message has a Job. */
  superseded(message: HeldMessage): boolean;
  /** Which try this attempt is, from 1: tries before a dead-lettering that somebody undid do not count. */
  tryOf(message: HeldMessage): number;
}

/** An empty ledger. */
export function openLedger(): Ledger {
  const attempts = new Map<string, HeldMessage[]>();
  const tasks = new Map<string, HeldTask>();
  const of = (key: string): readonly HeldMessage[] => attempts.get(key) ?? [];

  return {
    addMessage(message) {
      const known = attempts.get(message.key);
      if (known === undefined) attempts.set(message.key, [message]);
      else known.push(message);
    },
    forgetMessage(message) {
      const left = of(message.key).filter(other => other !== message);
      if (left.length === 0) attempts.delete(message.key);
      else attempts.set(message.key, left);
    },
    addTask: task => void tasks.set(task.name, task),
    forgetTask: task => void tasks.delete(task.name),
    task: name => tasks.get(name),
    tasks: () => tasks.values(),
    *messages() {
      for (const known of attempts.values()) yield* known;
    },
    decisive: key =>
      of(key).reduce<HeldMessage | undefined>(
        (best, message) => (best === undefined || outranks(message, best) ? message : best),
        undefined,
      ),
    nextAttempt: key => 1 + Math.max(0, ...of(key).map(message => message.attempt)),
    superseded: message =>
      of(message.key).some(
        other => other.attempt > message.attempt && other.task !== undefined && other.task.job !== 'none',
      ),
    tryOf(message) {
      const earlier = of(message.key).filter(
        other => other.attempt < message.attempt && other.state === 'dead-lettered',
      );
      return message.attempt - Math.max(0, ...earlier.map(other => other.attempt));
    },
  };
}

function outranks(message: HeldMessage, other: HeldMessage): boolean {
  const difference = rank(message) - rank(other);
  return difference === 0 ? message.attempt > other.attempt : difference > 0;
}

function rank({ state }: HeldMessage): number {
  if (hasSucceeded(state)) return 2;
  return isUnfinished(state) ? 1 : 0;
}

/** What is to be kept with the Job. */
export function taskOf(task: HeldTask): Task {
  const { hash, attempt, triggerIndex, triggerType, queueId, claimedAt } = task;
  const messages = task.messages.map(({ id, receipt }) => ({ id, receipt }));
  const settled = settledOf(task);
  return {
    hash,
    attempt,
    triggerIndex,
    triggerType,
    queueId,
    messages,
    claimedAt,
    ...(settled === undefined ? {} : { settled }),
  };
}

/** The settlement of all messages of a Job; `lost` where that became of any, undefined while any is open. */
export function settledOf(task: HeldTask): Task['settled'] {
  const all = task.messages.map(message => settlementOf(message.state));
  if (all.includes(undefined)) return undefined;
  return all.includes('lost') ? 'lost' : all[0];
}

/** How long after its end a Job is kept for the sake of a message that may come back, in milliseconds: a day. */
export const keepMs = 24 * 60 * 60 * 1000;

/**
 * Messages of an outlet that its source still has, or may have, whose id begins like this; each in its latest attempt.
 * Those that are open come first, and those whose Job has succeeded last: most likely the source was told of these, and
 * we did not hear that it heard.
 */
export function mayComeBack(ledger: Ledger, outlet: Outlet, idPrefix: string): KnownMessage[] {
  const found: HeldMessage[] = [];
  for (const message of ledger.messages()) {
    if (message.outlet !== outlet || !message.id.startsWith(idPrefix) || isGone(message.state)) continue;
    if (ledger.decisive(message.key) === message) found.push(message);
  }
  return found.sort(byDoubt).map(({ id, receipt }) => ({ messageId: id, receipt }));
}

const byDoubt = (one: HeldMessage, other: HeldMessage) => doubt(one.state) - doubt(other.state);

const doubt = (state: MessageState) => (isUnfinished(state) ? 0 : hasSucceeded(state) ? 2 : 1);

const isGone = (state: MessageState) =>
  state === 'acknowledged' || state === 'dead-lettered' || state === 'forgotten';

/**
 * Whether the Job must stay, whatever the history limits say: its messages are not settled, or it is the failed
 * Job that the number of the next attempt is counted from. That lasts a day, then it may go.
 *
 * @param now epoch milliseconds
 */
export function mustStay(ledger: Ledger, job: Job, now: number): boolean {
  if (job.task === undefined) return false;
  const task = ledger.task(job.name);
  if (task === undefined) return job.task.settled === undefined;
  if (settledOf(task) === undefined) return true;
  if (now - (task.finishedAt ?? job.finishedAt ?? job.createdAt) > keepMs) return false;
  return task.messages.some(
    message => (message.state === 'released' || message.state === 'lost') && !ledger.superseded(message),
  );
}
