import { expect, it } from 'vitest';
import { labelValue } from './label-value.ts';

it.each(['orders', 'a.b-c', 'x'.repeat(63)])('leaves %s as it is', name => {
  expect(labelValue(name)).toBe(name);
});

it('shortens names that do not fit, and tells those with the same beginning apart', () => {
  const [one, two] = [labelValue(`${'x'.repeat(80)}-one`), labelValue(`${'x'.repeat(80)}-two`)];

  expect(one).toMatch(/^x{54}-[0-9a-f]{8}$/);
  expect(two).not.toBe(one);
});

it('does not shorten to something that ends in a sign', () => {
  expect(labelValue(`${'x'.repeat(52)}---${'y'.repeat(40)}`)).toMatch(/^x{52}-[0-9a-f]{8}$/);
});
