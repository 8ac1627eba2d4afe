import { describe, expect, it } from 'vitest';
import { formatDuration, parseDuration } from './duration.ts';

describe('parseDuration', () => {
  it.each([
    ['0', 0],
    ['+5s', 5000],
    ['-2ms', -2],
    ['1.5h', 5_400_000],
    ['1h30m10s', 5_410_000],
    ['.5s', 500],
    ['1.s', 1000],
    ['100us', 0.1],
    ['100µs', 0.1],
  ])('reads %s as Go does', (text, ms) => {
    expect(parseDuration(text)).toBeCloseTo(ms, 9);
  });

  it.each(['', '5', '-', '.s', '5 s', '5d', 's', '1h5', '1e3s', '--5s'])('refuses "%s" as Go does', text => {
    expect(parseDuration(text)).toBeUndefined();
  });
});

describe('formatDuration', () => {
  it.each([
    [0, '0ms'],
    [850, '850ms'],
    [12_000, '12s'],
    [270_000, '4m30s'],
    [7_200_000, '2h'],
    [273_600_000, '3d4h'],
    [-1500, '-2s'],
  ])('prints %d ms as %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });
});
