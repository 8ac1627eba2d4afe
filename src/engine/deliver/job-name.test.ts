import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { jobName, messageKey, taskHash } from './job-name.ts';

const hash = taskHash('azure-queue', 'https://x/orders', ['m1']);

describe('jobName', () => {
  it('is the name of the ScaledJob, the hash and the attempt', () => {
    expect(jobName('orders', hash, 2)).toBe(`orders-${hash}-2`);
  });

  it('is a DNS-1123 label of at most 63 characters, whatever the ScaledJob is called', () => {
    const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/);
    const subdomain = fc.array(label, { minLength: 1, maxLength: 4 }).map(labels => labels.join('.'));

    fc.assert(
      fc.property(subdomain, fc.integer({ min: 1, max: 99_999 }), (name, attempt) => {
        const made = jobName(name, hash, attempt);

        expect(made).toMatch(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/);
        expect(made.length).toBeLessThanOrEqual(63);
        expect(made.endsWith(`-${hash}-${attempt}`)).toBe(true);
      }),
    );
  });

  it.each([
    ['that differ only in a dot', 'a.b', 'a-b'],
    ['that differ only after what fits', `${'x'.repeat(50)}a`, `${'x'.repeat(50)}b`],
  ])('tells ScaledJobs apart %s', (_title, one, other) => {
    expect(jobName(one, hash, 1)).not.toBe(jobName(other, hash, 1));
  });
});

describe('taskHash', () => {
  it('is the same in whatever order the messages came', () => {
    expect(taskHash('t', 'q', ['b', 'a'])).toBe(taskHash('t', 'q', ['a', 'b']));
  });

  it.each([
    ['source', 'u', 'q', ['a']],
    ['queue', 't', 'r', ['a']],
    ['message', 't', 'q', ['b']],
    ['set of messages', 't', 'q', ['a', 'b']],
  ])('differs by %s', (_title, type, queue, ids) => {
    expect(taskHash(type, queue, ids)).not.toBe(taskHash('t', 'q', ['a']));
  });
});

describe('messageKey', () => {
  it('does not mix up where one part ends and the next begins', () => {
    expect(messageKey('t', 'q x', 'y')).not.toBe(messageKey('t', 'q', 'x y'));
  });
});
