import type { Job, Task } from '../ports.ts';

/**
 * How it stands with one message that was handed to us. "Lost" means that our claim no longer holds and the
 * source will hand the message out again; the Job, if there is one, goes on.
 */
export type MessageState =
  /** Claimed; its Job waits for a free slot or is being created. */
  | 'creating'
  | 'creating-lost'
  /** Its Job exists and has not finished. */
  | 'running'
  | 'running-lost'
  /** Its Job succeeded; the source is being told. */
  | 'acknowledging'
  /** Its Job succeeded but the claim was lost first: acknowledged as soon as the message comes back. */
  | 'succeeded-lost'
  /** Its Job failed; it is being given back for another attempt. */
  | 'releasing'
  /** Its Job failed for the last time. */
  | 'dead-lettering'
  /** It has no Job (any more) and none has failed: given back without counting an attempt. */
  | 'giving-back'
  | 'acknowledged'
  | 'released'
  | 'dead-lettered'
  /** Its Job failed and the claim was lost: it comes back by itself. */
  | 'lost'
  /** Its Job succeeded, the claim was lost, and the message did not come back in all the time we waited. */
  | 'expired'
  | 'forgotten';

export type MessageEvent =
  | 'created'
  | 'create-failed'
  | 'job-running'
  | 'job-succeeded'
  | 'job-failed'
  /** Failed, and it was the last attempt the workload allows. */
  | 'job-failed-last'
  /** By hand, or by whatever cleans up Jobs. */
  | 'job-deleted'
  | 'extended'
  | 'extend-failed'
  /** The source says that the claim no longer holds, to an extension or a settlement. */
  | 'lost'
  | 'settled'
  | 'settle-failed'
  /** The source handed the message out again: there is a new receipt. */
  | 'returned'
  /** The same, of a message that has no attempt left. */
  | 'returned-last'
  /** We have waited long enough for the message to come back. */
  | 'expired'
  | 'shutdown';

export type MessageAction =
  /** Extend the claim when about half of it has passed. */
  | 'hold'
  | 'extend'
  | 'extend-later'
  | 'create-later'
  /** Acknowledge, release or dead-letter, as the state says. */
  | 'settle'
  | 'settle-later'
  /** Keep receipts and settlement with the Job. */
  | 'record'
  /** Remember until it comes back, for a limited time. */
  | 'await'
  /** Begin the next attempt with the claim that has just come. */
  | 'attempt'
  | 'forget';

/** The state that follows, and what is to be done. */
export type Step = readonly [MessageState, ...MessageAction[]];

export const messageEvents: readonly MessageEvent[] = [
  'created',
  'create-failed',
  'job-running',
  'job-succeeded',
  'job-failed',
  'job-failed-last',
  'job-deleted',
  'extended',
  'extend-failed',
  'lost',
  'settled',
  'settle-failed',
  'returned',
  'returned-last',
  'expired',
  'shutdown',
];

type Row = Readonly<Record<MessageEvent, Step>>;

/** A full row: an event without an entry of its own changes nothing. Most of those are answers that come late. */
function row(state: MessageState, steps: Partial<Row>): Row {
  const stay = messageEvents.map((event): [MessageEvent, Step] => [event, [state]]);
  return { ...(Object.fromEntries(stay) as Record<MessageEvent, Step>), ...steps };
}

/** The Job turned out to exist or to have finished while we thought there was none, and we hold no claim. */
const jobWithoutClaim = {
  'job-running': ['running-lost'],
  'job-succeeded': ['succeeded-lost', 'await'],
  'job-failed': ['lost', 'record'],
  'job-failed-last': ['lost', 'record'],
} as const satisfies Partial<Row>;

const jobFinished = {
  'job-succeeded': ['acknowledging', 'settle'],
  'job-failed': ['releasing', 'settle'],
  'job-failed-last': ['dead-lettering', 'settle'],
} as const satisfies Partial<Row>;

const gone = ['forgotten', 'forget'] as const;

/** Every event in every state. */
export const messageTable: Readonly<Record<MessageState, Row>> = {
  creating: row('creating', {
    ...jobFinished,
    created: ['running', 'hold', 'record'],
    'create-failed': ['creating', 'create-later'],
    'job-running': ['running', 'hold'],
    'job-deleted': ['giving-back', 'settle'],
    extended: ['creating', 'hold'],
    'extend-failed': ['creating', 'extend-later'],
    lost: ['creating-lost'],
    returned: ['creating', 'hold'],
    'returned-last': ['creating', 'hold'],
    shutdown: ['giving-back', 'settle'],
  }),
  'creating-lost': row('creating-lost', {
    ...jobWithoutClaim,
    created: ['running-lost'],
    'create-failed': ['creating-lost', 'create-later'],
    'job-deleted': gone,
    returned: ['creating', 'hold'],
    'returned-last': ['creating', 'hold'],
    shutdown: gone,
  }),
  running: row('running', {
    ...jobFinished,
    'job-deleted': ['giving-back', 'settle'],
    extended: ['running', 'hold', 'record'],
    'extend-failed': ['running', 'extend-later'],
    lost: ['running-lost'],
    returned: ['running', 'hold', 'record'],
    'returned-last': ['running', 'hold', 'record'],
  }),
  'running-lost': row('running-lost', {
    ...jobWithoutClaim,
    'job-deleted': gone,
    returned: ['running', 'hold', 'record'],
    'returned-last': ['running', 'hold', 'record'],
  }),
  acknowledging: row('acknowledging', {
    lost: ['succeeded-lost', 'await'],
    settled: ['acknowledged', 'record'],
    'settle-failed': ['acknowledging', 'settle-later'],
    returned: ['acknowledging', 'settle'],
    'returned-last': ['acknowledging', 'settle'],
  }),
  'succeeded-lost': row('succeeded-lost', {
    returned: ['acknowledging', 'settle'],
    'returned-last': ['acknowledging', 'settle'],
    expired: ['expired', 'record'],
  }),
  releasing: row('releasing', {
    lost: ['lost', 'record'],
    settled: ['released', 'record'],
    'settle-failed': ['releasing', 'settle-later'],
    // Released with its delay once more: it has come back without the pause that a failure asks for.
    returned: ['releasing', 'settle'],
    'returned-last': ['dead-lettering', 'settle'],
  }),
  'dead-lettering': row('dead-lettering', {
    lost: ['lost', 'record'],
    settled: ['dead-lettered', 'record'],
    'settle-failed': ['dead-lettering', 'settle-later'],
    returned: ['dead-lettering', 'settle'],
    'returned-last': ['dead-lettering', 'settle'],
  }),
  'giving-back': row('giving-back', {
    ...jobWithoutClaim,
    lost: gone,
    settled: gone,
    'settle-failed': ['giving-back', 'settle-later'],
    returned: ['forgotten', 'forget', 'attempt'],
    'returned-last': ['forgotten', 'forget', 'attempt'],
  }),
  acknowledged: row('acknowledged', {
    'job-deleted': gone,
    returned: ['acknowledging', 'settle'],
    'returned-last': ['acknowledging', 'settle'],
  }),
  released: row('released', {
    'job-deleted': gone,
    returned: ['released', 'attempt'],
    'returned-last': ['dead-lettering', 'settle'],
  }),
  // It was taken out of the source for good, so whoever put it back wants it tried anew.
  'dead-lettered': row('dead-lettered', {
    'job-deleted': gone,
    returned: ['dead-lettered', 'attempt'],
    'returned-last': ['dead-lettered', 'attempt'],
  }),
  lost: row('lost', {
    'job-deleted': gone,
    returned: ['lost', 'attempt'],
    'returned-last': ['dead-lettering', 'settle'],
  }),
  expired: row('expired', {
    'job-deleted': gone,
    returned: ['acknowledging', 'settle'],
    'returned-last': ['acknowledging', 'settle'],
  }),
  forgotten: row('forgotten', {
    returned: ['forgotten', 'attempt'],
    'returned-last': ['forgotten', 'attempt'],
  }),
};

export const messageStates = Object.keys(messageTable) as readonly MessageState[];

/** What an event makes of a message. Pure: the same state and event always give the same step. */
export function step(state: MessageState, event: MessageEvent): Step {
  return messageTable[state][event];
}

/** What a process that has just started makes of a message it finds with a Job. */
export interface Found {
  job: Job['state'];
  settled: Task['settled'];
  /** Whether the Job was the last attempt the workload allows. */
  last: boolean;
  /** Whether the receipt is worth trying: the source is still a trigger, and no newer Job has the message. */
  claim: boolean;
}

/** Where a message stands after a crash or restart of ours, judged by what is kept with its Job. */
export function resumeStep({ job, settled, last, claim }: Found): Step {
  if (job === 'pending' || job === 'running') return claim ? ['running', 'extend'] : ['running-lost'];
  if (job === 'succeeded') {
    if (settled !== undefined) return [settled === 'acknowledged' ? 'acknowledged' : 'expired'];
    return claim ? ['acknowledging', 'settle'] : ['succeeded-lost', 'await'];
  }
  if (settled !== undefined) return [settled];
  if (!claim) return ['lost', 'record'];
  return last ? ['dead-lettering', 'settle'] : ['releasing', 'settle'];
}

/** What has become of the message at its source, where that is decided. */
export function settlementOf(state: MessageState): Task['settled'] {
  switch (state) {
    case 'acknowledged':
    case 'released':
    case 'dead-lettered':
    case 'lost':
      return state;
    case 'expired':
      return 'lost';
    default:
      return undefined;
  }
}

/** Whether the Job of a message in this state succeeded: the message must never run again. */
export function hasSucceeded(state: MessageState): boolean {
  return (
    state === 'acknowledging' || state === 'succeeded-lost' || state === 'acknowledged' || state === 'expired'
  );
}

/** Whether a message in this state has, or may yet have, a Job that has not finished. */
export function isUnfinished(state: MessageState): boolean {
  return (
    state === 'creating' ||
    state === 'creating-lost' ||
    state === 'running' ||
    state === 'running-lost' ||
    state === 'giving-back'
  );
}
