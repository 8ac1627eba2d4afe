import { describe, expect, it } from 'vitest';
import type { ResourceQuery } from '../engine/ports.ts';
import type { PodObject } from './pods.ts';
import { type PodMetrics, podUse } from './resource-use.ts';

const cpu: ResourceQuery = { resource: 'cpu', container: undefined };

function pod(spec: PodObject['spec'], status: PodObject['status'] = {}): PodObject {
  return {
    metadata: { name: 'web-1', uid: 'u', resourceVersion: '1' },
    spec: spec ?? {},
    status: status ?? {},
  };
}

const container = (name: string, requests?: Record<string, string>) => ({
  name,
  ...(requests === undefined ? {} : { resources: { requests } }),
});

function metrics(use: Record<string, Record<string, string>>): PodMetrics {
  return {
    metadata: { name: 'web-1' },
    timestamp: '2026-01-01T00:00:10Z',
    window: '15s',
    containers: Object.entries(use).map(([name, usage]) => ({ name, usage })),
  };
}

const two = pod({
  containers: [container('app', { cpu: '100m', memory: '1Ki' }), container('side', { cpu: '0.2' })],
});

describe('podUse', () => {
  it.each<[string, ResourceQuery, Record<string, Record<string, string>>, number | undefined]>([
    ['sums containers', cpu, { app: { cpu: '1500000n' }, side: { cpu: '2m' } }, 0.0035],
    [
      'takes one container',
      { resource: 'memory', container: 'app' },
      { app: { memory: '2Ki' }, side: {} },
      2048,
    ],
    ['knows nothing where one is not measured', cpu, { app: { cpu: '1m' }, side: {} }, undefined],
    [
      'knows nothing of a container that is not there',
      { ...cpu, container: 'x' },
      { app: { cpu: '1m' } },
      undefined,
    ],
    ['knows nothing of no containers', cpu, {}, undefined],
  ])('%s', (_what, query, use, expected) => {
    const { used } = podUse(two, metrics(use), query);

    if (expected === undefined) expect(used).toBeUndefined();
    else expect(used).toBeCloseTo(expected, 9);
  });

  it.each<[string, PodObject, ResourceQuery, number | undefined]>([
    ['sums containers', two, cpu, 0.3],
    ['takes one container', two, { ...cpu, container: 'side' }, 0.2],
    ['lacks one where a container has none', two, { resource: 'memory', container: undefined }, undefined],
    ['lacks one of a container that is not there', two, { ...cpu, container: 'x' }, undefined],
    [
      'counts sidecars, and no other init containers',
      pod({
        containers: [container('app', { cpu: '1' })],
        initContainers: [
          { ...container('mesh', { cpu: '500m' }), restartPolicy: 'Always' },
          container('prepare', { cpu: '4' }),
        ],
      }),
      cpu,
      1.5,
    ],
    [
      "prefers the pod's own",
      pod({ containers: [container('app', { cpu: '1' })], resources: { requests: { cpu: '3' } } }),
      cpu,
      3,
    ],
    [
      "takes the containers' where the pod has one for something else only",
      pod({
        containers: [container('app', { cpu: '1' }), container('side')],
        resources: { requests: { memory: '1Gi' } },
      }),
      cpu,
      1,
    ],
  ])('%s of the requests', (_what, object, query, expected) => {
    const { requested } = podUse(object, undefined, query);

    if (expected === undefined) expect(requested).toBeUndefined();
    else expect(requested).toBeCloseTo(expected, 9);
  });

  it('says how the pod is and when it was measured', () => {
    const running = pod(
      { containers: [] },
      {
        phase: 'Running',
        startTime: '2026-01-01T00:00:00Z',
        conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: '2026-01-01T00:00:05Z' }],
      },
    );

    expect(podUse(running, metrics({ app: { cpu: '1' } }), cpu)).toEqual({
      pod: 'web-1',
      used: 1,
      requested: undefined,
      ready: true,
      startedAt: Date.UTC(2026, 0, 1),
      readySince: Date.UTC(2026, 0, 1, 0, 0, 5),
      sampledAt: Date.UTC(2026, 0, 1, 0, 0, 10),
      windowMs: 15_000,
      deleting: false,
      phase: 'Running',
    });
  });

  it('leaves out what is not known of a pod that has not started', () => {
    expect(podUse(pod({}, { phase: 'Pending' }), undefined, cpu)).toEqual({
      pod: 'web-1',
      used: undefined,
      requested: undefined,
      ready: false,
      startedAt: undefined,
      deleting: false,
      phase: 'Pending',
    });
  });
});
