import { describe, expect, it } from 'vitest';
import { Fault, faultOf } from './errors.ts';

describe('Fault', () => {
  it('says by its code whether trying again can help', () => {
    expect(new Fault('SOURCE_BUSY', 'later').retry).toBe(true);
    expect(new Fault('PARAM_INVALID', 'never').retry).toBe(false);
  });

  it('shows its code and sentence as JSON, and never its cause', () => {
    const fault = new Fault('SOURCE_FAILED', 'it broke', { cause: new Error('password=hunter2') });

    expect(JSON.stringify({ fault })).toBe('{"fault":{"code":"SOURCE_FAILED","message":"it broke"}}');
  });
});

describe('faultOf', () => {
  it('returns a Fault as it is', () => {
    const fault = new Fault('CANCELLED', 'stopped');

    expect(faultOf(fault)).toBe(fault);
  });

  it.each([
    ['an Error', new Error('broken'), 'broken'],
    ['a text', 'broken', 'broken'],
    ['a number', 42, '42'],
  ])('keeps %s as the cause', (_title, thrown, message) => {
    const fault = faultOf(thrown, 'WORLD_FAILED');

    expect(fault).toMatchObject({ code: 'WORLD_FAILED', message, cause: thrown });
  });
});
