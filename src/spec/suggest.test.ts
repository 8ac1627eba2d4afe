import { describe, expect, it } from 'vitest';
import { didYouMean, nearest } from './suggest.ts';

const types = ['cron', 'cpu', 'kafka', 'azure-queue', 'azure-blob', 'prometheus'];

describe('nearest', () => {
  it.each([
    ['cronn', 'cron'],
    ['Cron', 'cron'],
    ['kakfa', 'kafka'],
    ['azure_queue', 'azure-queue'],
    ['azurequeue', 'azure-queue'],
    ['promethius', 'prometheus'],
    ['cup', 'cpu'],
  ])('finds what "%s" was meant to be', (strange, meant) => {
    expect(nearest(strange, types)).toBe(meant);
  });

  it.each(['rabbitmq', 'x', ''])('finds nothing near "%s"', strange => {
    expect(nearest(strange, types)).toBeUndefined();
  });
});

describe('didYouMean', () => {
  it('is the end of a sentence, or nothing', () => {
    expect(didYouMean('cronn', types)).toBe(', did you mean "cron"?');
    expect(didYouMean('rabbitmq', types)).toBe('');
  });
});
