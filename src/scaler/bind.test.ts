import { describe, expect, it } from 'vitest';
import { bind, mustBind } from '../../test/scaler-contract.ts';
import { Secret } from '../base/secret.ts';
import type { Trigger } from '../spec/workload.ts';
import { bindTrigger } from './bind.ts';
import { defineScaler, refuse } from './define.ts';
import { defineResource } from './families/resource.ts';
import { p } from './params.ts';

const doc = 'A parameter.';

const queue = defineScaler({
  type: 'queue',
  doc: 'Counts what waits in a queue that exists for this test.',
  testedWith: { kind: 'none-needed' },
  params: {
    host: p.text({ doc, from: ['metadata', 'auth'] }),
    queue: p.text({ doc }),
    length: p.number({ doc }),
    activationLength: p.number({ doc, default: '0' }),
  },
  target: 'length',
  activation: 'activationLength',
  resolve: values =>
    values.host.includes(' ')
      ? refuse([{ problem: `"${values.host}" is not a host`, mending: `not "${values.host}"` }])
      : values,
  metricName: params => `queue-${params.queue}`,
  endpoint: ({ host }) => host,
  query: params => params.queue,
  open: async () => ({}),
  read: async () => 0,
});

const given = { host: 'mq', queue: 'mail', length: '5' };
const trigger = (over: Partial<Trigger> = {}): Trigger => ({
  index: 2,
  type: 'queue',
  metadata: given,
  secrets: {},
  useCachedMetrics: false,
  ...over,
});
const context = {
  podIdentity: { provider: 'none' as const },
  namespace: 'default',
  workload: 'app',
  triggerIndex: 2,
  asMetricSource: false,
};

describe('a trigger that is read', () => {
  it('has its name, target and activation worked out', () => {
    const input = { metadata: { ...given, activationLength: '2' }, auth: {}, env: {} };

    expect(bindTrigger(queue, trigger(), input, context)).toMatchObject({
      ok: true,
      bound: {
        kind: 'read',
        metricName: 's2-queue-mail',
        target: { type: 'AverageValue', value: 5 },
        activation: 2,
        timeoutMs: undefined,
      },
      notices: [],
    });
  });

  it('keeps the metric type that the manifest gives', () => {
    const input = { metadata: given, auth: {}, env: {} };

    const binding = bindTrigger(queue, trigger({ metricType: 'Value' }), input, context);

    expect(binding).toMatchObject({ bound: { target: { type: 'Value', value: 5 } } });
  });

  it('shares connections by endpoint and identity, readings by query', () => {
    const one = mustBind(queue, { params: given });
    const otherQueue = mustBind(queue, { params: { ...given, queue: 'post' } });
    const otherIdentity = mustBind(queue, { params: given }, { podIdentity: { provider: 'aws' } });

    expect(otherQueue.connectionKey).toBe(one.connectionKey);
    expect(otherQueue.readingKey).not.toBe(one.readingKey);
    expect(otherIdentity.connectionKey).not.toBe(one.connectionKey);
    expect(otherIdentity.readingKey).not.toBe(one.readingKey);
  });

  it('may lack its own target where it feeds a formula', () => {
    const { host, queue: name } = given;
    const without = { params: { host, queue: name } };

    expect(bind(queue, without)).toMatchObject({ ok: false, problems: [{ problem: '"length" is missing' }] });
    expect(mustBind(queue, without, { asMetricSource: true }).target.value).toBe(0);
  });

  it('complains about its parameters and its metric type at once', () => {
    const wrong = trigger({ metricType: 'Utilization' });

    const binding = bindTrigger(
      queue,
      wrong,
      { metadata: { ...given, length: 'x' }, auth: {}, env: {} },
      context,
    );

    expect(binding).toMatchObject({
      ok: false,
      problems: [
        { problem: '"x" is not a number' },
        { problem: 'metricType Utilization is for cpu and memory only' },
      ],
    });
  });

  it('has no secret in the sentences of its scaler', () => {
    const input = { metadata: { ...given, host: '' }, auth: { host: new Secret('pass word') }, env: {} };

    expect(bindTrigger(queue, trigger(), input, context)).toMatchObject({
      ok: false,
      problems: [{ problem: '"[secret]" is not a host', mending: 'not "[secret]"' }],
    });
  });

  it('has notices that do not stand in its way', () => {
    expect(bind(queue, { params: { ...given, lenght: '5' } })).toMatchObject({
      ok: true,
      notices: [{ problem: expect.stringContaining('did you mean "length"?') }],
    });
  });
});

describe('a trigger of a resource', () => {
  const cpu = defineResource('cpu', 'cores');
  const bindCpu = (value: string, metricType?: Trigger['metricType']) =>
    bindTrigger(
      cpu,
      trigger({ type: 'cpu', ...(metricType === undefined ? {} : { metricType }) }),
      { metadata: { value, containerName: 'app' }, auth: {}, env: {} },
      context,
    );

  it.each([
    ['60', 'Utilization', 60],
    ['500m', 'AverageValue', 0.5],
    ['2', 'AverageValue', 2],
  ] as const)('has %s of %s as target', (value, type, number) => {
    expect(bindCpu(value, type)).toMatchObject({
      ok: true,
      bound: { kind: 'resource', resource: 'cpu', container: 'app', target: { type, value: number } },
    });
  });

  it.each([
    ['a percentage with a unit', '60%', 'Utilization', '"60%" is not a whole number of percent'],
    ['a quantity that is none', '5 cores', 'AverageValue', '"5 cores" is not a Kubernetes quantity'],
    ['a Value', '5', 'Value', 'metricType "Value" is not for cpu'],
    ['no metric type', '5', undefined, 'metricType is missing'],
  ] as const)('refuses %s', (_title, value, type, problem) => {
    expect(bindCpu(value, type)).toMatchObject({ problems: [{ problem: expect.stringContaining(problem) }] });
  });
});
