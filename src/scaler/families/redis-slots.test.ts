import { describe, expect, it } from 'vitest';
import { siblingKey, slotOf } from './redis-slots.ts';

describe('the slot of a key', () => {
  // As `CLUSTER KEYSLOT` of Redis 7 answers.
  it.each([
    ['123456789', 12739],
    ['foo', 12182],
    ['schlüssel', 7677],
    ['{user1000}.following', 3443],
    ['foo{}{bar}', 8363],
    ['foo{{bar}}zap', 4015],
    ['foo{bar}{zap}', 5061],
    ['a}b', 7866],
    ['{a', 10276],
  ])('of "%s" is %i', (key, slot) => {
    expect(slotOf(key)).toBe(slot);
  });
});

describe('a key beside another', () => {
  it.each([
    ['orders', false, 'orders-x'],
    ['orders', true, '{orders}-x'],
    ['{shop}orders', true, '{shop}orders-x'],
    ['{shop}orders', false, '{shop}orders-x'],
    ['a}b', false, 'a}b-x'],
    ['a}b', true, undefined],
  ])('of "%s" (in a cluster: %s) is %s', (key, inCluster, sibling) => {
    expect(siblingKey(key, '-x', inCluster)).toBe(sibling);
    if (sibling !== undefined && inCluster) expect(slotOf(sibling)).toBe(slotOf(key));
  });
});
