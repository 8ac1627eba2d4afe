import { describe, expect, it } from 'vitest';
import { type DecisionSource, decisions, decisionsPath } from './decisions-api.ts';

const source: DecisionSource = {
  leading: true,
  snapshot: () => [{ key: 'ScaledObject/shop/web', kind: 'ScaledObject', namespace: 'shop', name: 'web' }],
  records: key => (key === 'ScaledObject/shop/web' ? ['first', 'second', 'third'] : undefined),
};

function ask(path: string, { method = 'GET', ...over }: Partial<DecisionSource> & { method?: string } = {}) {
  const body = Buffer.alloc(0);
  const answer = decisions(
    { ...source, ...over },
    { method, url: path, headers: {}, body, signal: new AbortController().signal },
  );
  return answer && [answer.status, JSON.parse(String(answer.body))];
}

const web = decisionsPath('shop', 'scaledobjects', 'web');

describe('the decisions of a workload', () => {
  it('are told, the last ones', () => {
    expect(ask(`${web}?last=2`)).toEqual([
      200,
      { kind: 'DecisionList', workload: 'ScaledObject/shop/web', items: ['second', 'third'] },
    ]);
  });

  it.each([
    [
      'a workload that is not there',
      decisionsPath('shop', 'scaledobjects', 'wed'),
      {},
      404,
      'did you mean "web"',
    ],
    ['a workload of another kind', decisionsPath('shop', 'scaledjobs', 'web'), {}, 404, 'no ScaledJob "web"'],
    ['a number that is none', `${web}?last=x`, {}, 400, '"last"'],
    ['another method', web, { method: 'POST' }, 405, 'only GET'],
    ['a process that stands by', web, { leading: false }, 503, 'stands by'],
  ])('are not told of %s', (_title, path, over, code, words) => {
    expect(ask(path, over)).toEqual([
      code,
      expect.objectContaining({ kind: 'Status', code, message: expect.stringContaining(words) }),
    ]);
  });

  it.each(['/', '/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/s0-number', `${web}/more`])(
    'are not what %s asks for',
    path => {
      expect(ask(path)).toBeUndefined();
    },
  );
});
