import { describe, expect, it } from 'vitest';
import { heldMessage, mayComeBack, openLedger } from './ledger.ts';
import type { Outlet } from './outlet.ts';
import type { MessageState } from './task-state.ts';

function ledgerWith(...states: MessageState[]) {
  const ledger = openLedger();
  const messages = states.map((state, index) => {
    const known = { id: 'm1', key: 'k', attempt: index + 1, outlet: undefined, receipt: 'r' };
    return heldMessage({ ...known, extendAt: 0, claimedAt: 0, state });
  });
  for (const message of messages) ledger.addMessage(message);
  return { ledger, messages };
}

describe('the attempt that decides what becomes of a message that comes back', () => {
  it.each([
    ['the only one', ['running'], 1],
    ['one that runs before one that failed', ['released', 'running'], 2],
    ['one that runs, though a later one failed', ['running', 'released'], 1],
    ['one that succeeded before all others', ['released', 'acknowledged', 'running'], 2],
    ['one that succeeded though it is not settled', ['succeeded-lost', 'lost'], 1],
    ['the latest of those that failed', ['released', 'lost', 'released'], 3],
  ] satisfies [string, MessageState[], number][])('is %s', (_title, states, attempt) => {
    expect(ledgerWith(...states).ledger.decisive('k')?.attempt).toBe(attempt);
  });

  it('is none for a message that is new, or forgotten', () => {
    const { ledger, messages } = ledgerWith('released');

    for (const message of messages) ledger.forgetMessage(message);

    expect(ledger.decisive('k')).toBeUndefined();
    expect(ledger.nextAttempt('k')).toBe(1);
    expect([...ledger.messages()]).toEqual([]);
  });
});

it('counts tries from the last dead-lettering, and attempts from the first', () => {
  const { ledger, messages } = ledgerWith('released', 'dead-lettered', 'released', 'running');

  expect(messages.map(ledger.tryOf)).toEqual([1, 2, 1, 2]);
  expect(ledger.nextAttempt('k')).toBe(5);
});

it('takes what comes back without a name for an open message first, and for one that succeeded last', () => {
  const ledger = openLedger();
  const outlet = {} as Outlet;
  const states: MessageState[] = ['succeeded-lost', 'lost', 'acknowledged', 'running-lost', 'released'];
  for (const state of states) {
    const id = `~x.${state}`;
    const known = { id, key: id, attempt: 1, outlet, receipt: 'r', extendAt: 0, claimedAt: 0, state };
    ledger.addMessage(heldMessage(known));
  }

  const known = mayComeBack(ledger, outlet, '~x.').map(({ messageId }) => messageId);

  expect(known).toEqual(['~x.running-lost', '~x.lost', '~x.released', '~x.succeeded-lost']);
});
