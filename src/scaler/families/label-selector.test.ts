import { describe, expect, it } from 'vitest';
import { selectorProblem } from './label-selector.ts';

describe('a label selector', () => {
  it.each([
    '',
    'app=web',
    'app==web',
    'app!=web',
    'app = web , tier != back',
    'app in (a,b)',
    'app notin ( a , b ),tier',
    '!app',
    'example.com/app=web',
    'app=',
    'priority>5',
    `${'k'.repeat(63)}=${'v'.repeat(63)}`,
  ])('may be %j', selector => {
    expect(selectorProblem(selector)).toBeUndefined();
  });

  it.each([
    ['app web', 'app web'],
    ['app=web,', 'comma'],
    ['=web', '=web'],
    ['app in a,b', 'app in a'],
    ['app in (a', 'app in (a'],
    ['app=we b', 'app=we b'],
    ['app=-web', 'app=-web'],
    ['priority>-5', 'priority>-5'],
    [`app=${'v'.repeat(64)}`, 'app=v'],
    [`${'k'.repeat(64)}=web`, 'k=web'],
    [`${'p'.repeat(254)}/app=web`, '/app=web'],
  ])('may not be %j', (selector, words) => {
    expect(selectorProblem(selector)).toContain(words);
  });
});
