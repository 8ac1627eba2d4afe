import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { Secret } from './secret.ts';

describe('Secret', () => {
  const secret = new Secret('hunter2');

  it.each([
    ['string conversion', `${secret}`],
    ['JSON', JSON.stringify({ secret })],
    ['inspect', inspect({ secret })],
    ['inspect of everything', inspect(secret, { showHidden: true, depth: null })],
    ['Object.entries', JSON.stringify(Object.entries(secret))],
  ])('does not show itself in %s', (_title, printed) => {
    expect(printed).not.toContain('hunter2');
  });

  it('reveals itself when asked', () => {
    expect(secret.reveal()).toBe('hunter2');
  });

  it('has the fingerprint of its value, so that equal secrets compare equal', () => {
    expect(secret.fingerprint()).toBe(new Secret('hunter2').fingerprint());
    expect(secret.fingerprint()).not.toBe(new Secret('hunter3').fingerprint());
  });
});
