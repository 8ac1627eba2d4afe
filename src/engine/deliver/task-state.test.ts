import { describe, expect, it } from 'vitest';
import type { Job, Task } from '../ports.ts';
import {
  hasSucceeded,
  isUnfinished,
  type MessageEvent,
  type MessageState,
  messageEvents,
  messageStates,
  messageTable,
  resumeStep,
  type Step,
  settlementOf,
  step,
} from './task-state.ts';

/**
 * The whole table, written a second time: what each state makes of each event, with a dot where nothing
 * changes. Columns are the events in their order.
 */
const short: Record<string, MessageState> = {
  cr: 'creating',
  'cr!': 'creating-lost',
  ru: 'running',
  'ru!': 'running-lost',
  ak: 'acknowledging',
  'ok!': 'succeeded-lost',
  re: 'releasing',
  dl: 'dead-lettering',
  gb: 'giving-back',
  AK: 'acknowledged',
  RE: 'released',
  DL: 'dead-lettered',
  LO: 'lost',
  EX: 'expired',
  '-': 'forgotten',
};
const expected: Record<MessageState, string> = {
  //                  made fail run ok  bad last gone ext xf lost done sf  back back! exp shut
  creating: /*       */ 'ru  cr  ru  ak  re  dl  gb  cr  cr  cr! .   .   cr  cr  .   gb',
  'creating-lost': /**/ 'ru! cr! ru! ok! LO  LO  -   .   .   .   .   .   cr  cr  .   -',
  running: /*        */ '.   .   .   ak  re  dl  gb  ru  ru  ru! .   .   ru  ru  .   .',
  'running-lost': /* */ '.   .   ru! ok! LO  LO  -   .   .   .   .   .   ru  ru  .   .',
  acknowledging: /*  */ '.   .   .   .   .   .   .   .   .   ok! AK  ak  ak  ak  .   .',
  'succeeded-lost': /**/ '.  .   .   .   .   .   .   .   .   .   .   .   ak  ak  EX  .',
  releasing: /*      */ '.   .   .   .   .   .   .   .   .   LO  RE  re  re  dl  .   .',
  'dead-lettering': /**/ '.  .   .   .   .   .   .   .   .   LO  DL  dl  dl  dl  .   .',
  'giving-back': /*  */ '.   .   ru! ok! LO  LO  .   .   .   -   -   gb  -   -   .   .',
  acknowledged: /*   */ '.   .   .   .   .   .   -   .   .   .   .   .   ak  ak  .   .',
  released: /*       */ '.   .   .   .   .   .   -   .   .   .   .   .   RE  dl  .   .',
  'dead-lettered': /**/ '.   .   .   .   .   .   -   .   .   .   .   .   DL  DL  .   .',
  lost: /*           */ '.   .   .   .   .   .   -   .   .   .   .   .   LO  dl  .   .',
  expired: /*        */ '.   .   .   .   .   .   -   .   .   .   .   .   ak  ak  .   .',
  forgotten: /*      */ '.   .   .   .   .   .   .   .   .   .   .   .   -   -   .   .',
};

const pairs = messageStates.flatMap(state =>
  messageEvents.map((event): [MessageState, MessageEvent] => [state, event]),
);

describe('every event in every state', () => {
  it.each(pairs)('%s, when %s', (state, event) => {
    const cells = expected[state].split(/\s+/);
    const cell = cells[messageEvents.indexOf(event)] ?? '';

    const [next] = step(state, event);

    expect(cells).toHaveLength(messageEvents.length);
    expect(next).toBe(cell === '.' ? state : short[cell]);
  });
});

/** What becomes of the message at the source, as far as this state decides it. */
const settling: MessageState[] = ['acknowledging', 'releasing', 'dead-lettering', 'giving-back'];

describe('promises that hold for the table as a whole', () => {
  const every = (check: (state: MessageState, event: MessageEvent, step: Step) => void) => {
    for (const [state, event] of pairs) check(state, event, step(state, event));
  };

  it('acknowledges only what a Job has succeeded for', () => {
    every((state, event, [next]) => {
      if (next === 'acknowledging') expect(hasSucceeded(state) || event === 'job-succeeded').toBe(true);
    });
  });

  it('never runs again or gives back what has succeeded', () => {
    every((state, _event, [next, ...actions]) => {
      if (!hasSucceeded(state)) return;
      expect(actions).not.toContain('attempt');
      expect(hasSucceeded(next) || next === 'forgotten').toBe(true);
    });
  });

  it('begins another attempt only where no Job can still be running', () => {
    every((state, event, [, ...actions]) => {
      if (!actions.includes('attempt')) return;
      expect(event).toMatch(/^returned/);
      // A message is given back only once its Job is gone, or before it had one.
      expect(isUnfinished(state) && state !== 'giving-back').toBe(false);
    });
  });

  it('dead-letters only after a last attempt has failed', () => {
    every((state, event, [next]) => {
      if (next !== 'dead-lettering' || state === 'dead-lettering') return;
      expect(['job-failed-last', 'returned-last']).toContain(event);
    });
  });

  it('settles whenever it begins to, and at every new receipt of what is being settled', () => {
    every((state, event, [next, ...actions]) => {
      if (settling.includes(next) && (next !== state || event.startsWith('returned'))) {
        expect(actions).toContain('settle');
      }
      if (settling.includes(next) && event === 'settle-failed')
        expect(actions).toEqual(next === state && settling.includes(state) ? ['settle-later'] : []);
      if (actions.includes('settle') || actions.includes('settle-later')) expect(settling).toContain(next);
    });
  });

  it('keeps extending a claim for as long as it holds and the Job may run', () => {
    every((state, event, [next, ...actions]) => {
      if (next !== 'running' && next !== 'creating') return;
      if (event === 'extended' || event.startsWith('returned') || next !== state)
        expect(actions).toContain('hold');
      if (event === 'extend-failed') expect(actions).toEqual(['extend-later']);
    });
  });

  it('keeps every settlement with the Job', () => {
    every((state, _event, [next, ...actions]) => {
      if (next !== state && settlementOf(next) !== undefined) expect(actions).toContain('record');
    });
  });

  it('leaves no state without a way to an end', () => {
    const ends = (state: MessageState) => settlementOf(state) !== undefined || state === 'forgotten';
    const reached = new Set(messageStates.filter(ends));
    for (let grown = true; grown; ) {
      const more = messageStates.filter(
        state => !reached.has(state) && messageEvents.some(event => reached.has(step(state, event)[0])),
      );
      for (const state of more) reached.add(state);
      grown = more.length > 0;
    }

    expect([...reached].sort()).toEqual([...messageStates].sort());
  });

  it('has a row for every state and a step for every event', () => {
    for (const row of Object.values(messageTable))
      expect(Object.keys(row).sort()).toEqual([...messageEvents].sort());
  });
});

describe('after a crash', () => {
  /** What can be kept with a Job by the time a message is in a state; the claim itself may hold or not. */
  const kept: Record<MessageState, { job: Job['state'] | undefined; settled: Task['settled'][] }> = {
    creating: { job: undefined, settled: [undefined] },
    'creating-lost': { job: undefined, settled: [undefined] },
    running: { job: 'running', settled: [undefined] },
    'running-lost': { job: 'running', settled: [undefined] },
    acknowledging: { job: 'succeeded', settled: [undefined, 'acknowledged', 'lost'] },
    'succeeded-lost': { job: 'succeeded', settled: [undefined] },
    releasing: { job: 'failed', settled: [undefined] },
    'dead-lettering': { job: 'failed', settled: [undefined, 'released', 'lost'] },
    'giving-back': { job: undefined, settled: [undefined] },
    acknowledged: { job: 'succeeded', settled: [undefined, 'acknowledged'] },
    released: { job: 'failed', settled: [undefined, 'released'] },
    'dead-lettered': { job: 'failed', settled: [undefined, 'dead-lettered'] },
    lost: { job: 'failed', settled: [undefined, 'lost'] },
    expired: { job: 'succeeded', settled: [undefined, 'lost'] },
    forgotten: { job: undefined, settled: [undefined] },
  };
  const founds = messageStates.flatMap(state => {
    const { job, settled } = kept[state];
    if (job === undefined) return [];
    return settled.flatMap(one =>
      [true, false].flatMap(claim =>
        [true, false].map(last => ({ state, found: { job, settled: one, last, claim } })),
      ),
    );
  });

  it.each(founds)('a message that was $state goes on from $found', ({ state, found }) => {
    const [next, ...actions] = resumeStep(found);

    // A success stays one and a failure stays one, whatever else was lost.
    if (found.job === 'succeeded') expect(hasSucceeded(next)).toBe(true);
    else expect(hasSucceeded(next)).toBe(false);
    if (isUnfinished(state)) expect(isUnfinished(next)).toBe(true);
    // What was not settled is gone on with at once, as far as there is a receipt to try.
    if (found.settled === undefined && found.claim)
      expect(actions).toEqual([next === 'running' ? 'extend' : 'settle']);
    if (found.settled !== undefined) expect(actions).toEqual([]);
    if (next === 'dead-lettering') expect(found.last).toBe(true);
  });

  it.each([
    ['pending', undefined, true, false, ['running', 'extend']],
    ['running', undefined, false, false, ['running-lost']],
    ['succeeded', undefined, true, false, ['acknowledging', 'settle']],
    ['succeeded', undefined, false, false, ['succeeded-lost', 'await']],
    ['succeeded', 'acknowledged', true, false, ['acknowledged']],
    ['succeeded', 'lost', true, false, ['expired']],
    ['failed', undefined, true, false, ['releasing', 'settle']],
    ['failed', undefined, true, true, ['dead-lettering', 'settle']],
    ['failed', undefined, false, true, ['lost', 'record']],
    ['failed', 'released', true, false, ['released']],
    ['failed', 'dead-lettered', true, true, ['dead-lettered']],
  ] as const)('a Job that is %s and settled as %s, claim %s, last %s', (job, settled, claim, last, steps) => {
    expect(resumeStep({ job, settled, claim, last })).toEqual(steps);
  });
});
