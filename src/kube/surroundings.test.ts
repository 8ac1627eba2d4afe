import { describe, expect, it } from 'vitest';
import { manualClock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import { documentOf } from '../spec/documents.ts';
import { parseScaledObject } from '../spec/scaled-object.ts';
import type { ScaledObject } from '../spec/workload.ts';
import type { KubeObject, Resource } from './objects.ts';
import { ClusterSurroundings } from './surroundings.ts';

interface Given {
  name?: string;
  namespace?: string;
  target?: string;
  hpa?: string;
  generation?: number;
  triggers?: string[];
}

function manifest({ name = 'web', namespace = 'shop', target = 'app', ...more }: Given = {}) {
  const { hpa, generation = 1, triggers = ['cron'] } = more;
  return {
    apiVersion: 'keda.sh/v1alpha1',
    kind: 'ScaledObject',
    metadata: { name, namespace, uid: `uid of ${name}`, resourceVersion: '1', generation },
    spec: {
      scaleTargetRef: { name: target },
      triggers: triggers.map(type => ({ type, metadata: {} })),
      ...(hpa === undefined ? {} : { advanced: { horizontalPodAutoscalerConfig: { name: hpa } } }),
    },
  };
}

function scaledObject(given?: Given): ScaledObject {
  const parsed = parseScaledObject(documentOf(manifest(given)));
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return parsed.value;
}

const deployment = (resources: object) => ({
  kind: 'Deployment',
  metadata: { name: 'app', namespace: 'shop', uid: 'd', resourceVersion: '1' },
  spec: { template: { spec: { containers: [{ name: 'main', resources }] } } },
});

const range = {
  kind: 'LimitRange',
  metadata: { name: 'r', namespace: 'shop', uid: 'r', resourceVersion: '1' },
  spec: { limits: [{ type: 'Container', default: { cpu: '1' } }] },
};

/** A cluster that has these objects, and remembers what it was asked. */
function cluster(...objects: (KubeObject & { kind: string })[]) {
  const clock = manualClock();
  const asked: string[] = [];
  const server = { down: false };
  const check = (what: string) => {
    asked.push(what);
    if (server.down) throw new Fault('KUBE_UNREACHABLE', 'the API server does not answer');
  };
  const client = {
    async get<T extends KubeObject>(
      { kind }: Resource,
      { namespace, name }: { namespace?: string; name: string },
    ) {
      check(`get ${kind} ${namespace}/${name}`);
      const found = objects.find(
        each => each.kind === kind && each.metadata.namespace === namespace && each.metadata.name === name,
      );
      return found as T | undefined;
    },
    async list<T extends KubeObject>({ kind }: Resource, { namespace }: { namespace?: string }) {
      check(`list ${kind} ${namespace}`);
      const items = objects.filter(each => each.kind === kind && each.metadata.namespace === namespace);
      return { items: items as unknown as T[], resourceVersion: '1' };
    },
  };
  const surroundings = new ClusterSurroundings({
    client,
    clock,
    autoscalersByTarget: () => [],
    checkFormula: () => [],
  });
  const around = async (workload: ScaledObject, dryRun = false) => {
    const { signal } = new AbortController();
    const asking = surroundings.around(workload, { operation: 'create', dryRun }, signal);
    asking.catch(() => undefined);
    await clock.advance(3000);
    return await asking;
  };
  return { surroundings, around, asked, objects, server, clock };
}

const names = (workloads: readonly ScaledObject[]) => workloads.map(({ name }) => name);

describe('the ScaledObjects of a cluster', () => {
  it('are found by what they scale and by their HPA, in their namespace, without asking anybody', async () => {
    const { surroundings, around, asked } = cluster();
    for (const given of [
      { name: 'a' },
      { name: 'b', target: 'other', hpa: 'h' },
      { name: 'c', namespace: 'x' },
    ])
      surroundings.set(scaledObject(given));

    const seen = await around(scaledObject());

    expect(names(seen.scaledObjectsByTarget('shop', 'app'))).toEqual(['a']);
    expect(names(seen.scaledObjectsByHpa('shop', 'h'))).toEqual(['b']);
    expect(names(seen.scaledObjectsByHpa('shop', 'keda-hpa-a'))).toEqual(['a']);
    expect(names(seen.scaledObjectsByTarget('shop', 'none'))).toEqual([]);
    expect(asked).toEqual([]);
  });

  it('are found by what they are now, and not any more once they are gone', async () => {
    const { surroundings, around } = cluster();
    surroundings.set(scaledObject({ name: 'a' }));
    surroundings.set(scaledObject({ name: 'a', target: 'other', generation: 2 }));
    surroundings.set(scaledObject({ name: 'b' }));
    surroundings.remove(scaledObject({ name: 'b' }).key);
    surroundings.remove('ScaledObject/shop/never');

    const seen = await around(scaledObject());

    expect(names(seen.scaledObjectsByTarget('shop', 'app'))).toEqual([]);
    expect(names(seen.scaledObjectsByTarget('shop', 'other'))).toEqual(['a']);
  });
});

describe('a ScaledObject that was let in a moment ago', () => {
  const first = scaledObject({ name: 'first' });

  it('is in the way once the API server has it, although the watch has not brought it', async () => {
    const { surroundings, around, asked } = cluster(manifest({ name: 'first' }));
    surroundings.admitted(first);

    const seen = await around(scaledObject());

    expect(names(seen.scaledObjectsByTarget('shop', 'app'))).toEqual(['first']);
    expect(names(seen.scaledObjectsByHpa('shop', 'keda-hpa-first'))).toEqual(['first']);
    expect(asked).toEqual(['get ScaledObject shop/first']);
  });

  it('is in nobody’s way where it was never stored, and is then forgotten', async () => {
    const { surroundings, around, asked } = cluster();
    surroundings.admitted(first);

    const seen = await around(scaledObject());
    const again = await around(scaledObject());

    expect(names(seen.scaledObjectsByTarget('shop', 'app'))).toEqual([]);
    expect(names(again.scaledObjectsByTarget('shop', 'app'))).toEqual([]);
    expect(asked).toHaveLength(3);
  });

  it.each<[string, Given]>([
    ['wants something else', { name: 'first', target: 'other' }],
    ['is the same object', { name: 'web' }],
    ['is in another namespace', { name: 'first', namespace: 'x' }],
  ])('costs no request where it %s', async (_title, given) => {
    const { surroundings, around, asked } = cluster(manifest(given));
    surroundings.admitted(scaledObject(given));

    await around(scaledObject());

    expect(asked).toEqual([]);
  });

  it('is there once when the watch brings it, and is forgotten after a while when it does not', async () => {
    const { surroundings, around, asked, clock } = cluster();
    surroundings.admitted(first);
    surroundings.set(first);
    surroundings.admitted(scaledObject({ name: 'lost' }));
    await clock.advance(6000);

    const seen = await around(scaledObject());

    expect(names(seen.scaledObjectsByTarget('shop', 'app'))).toEqual(['first']);
    expect(asked).toEqual([]);
  });

  it('counts with its new target, also when the watch brings an older version first', async () => {
    const { surroundings, around } = cluster(manifest({ name: 'first', target: 'app', generation: 2 }));
    surroundings.set(scaledObject({ name: 'first', target: 'before', generation: 1 }));
    surroundings.admitted(scaledObject({ name: 'first', target: 'app', generation: 2 }));
    surroundings.set(scaledObject({ name: 'first', target: 'before', generation: 1 }));

    const seen = await around(scaledObject());

    expect(names(seen.scaledObjectsByTarget('shop', 'app'))).toEqual(['first']);
  });
});

describe('containers and limits', () => {
  const cpu = scaledObject({ triggers: ['cpu'] });

  it.each<[string, ScaledObject, object, string[]]>([
    ['are not asked for without cpu or memory', scaledObject(), deployment({}), []],
    ['are asked for', cpu, deployment({ requests: { cpu: 1 } }), ['get Deployment shop/app']],
    [
      'are asked for with the limits of the namespace where a request is missing',
      cpu,
      deployment({ requests: { memory: '1Gi' } }),
      ['get Deployment shop/app', 'list LimitRange shop'],
    ],
  ])('%s', async (_title, workload, object, requests) => {
    const { around, asked } = cluster(object as ReturnType<typeof deployment>, range);

    await around(workload);

    expect(asked).toEqual(requests);
  });

  it('are what the API server says', async () => {
    const { around } = cluster(deployment({ requests: { memory: '1Gi' } }), range);

    const seen = await around(cpu);

    expect(seen.containers('shop', cpu.target)).toEqual([
      { name: 'main', requests: { memory: '1Gi' }, limits: {} },
    ]);
    expect(seen.limits('shop')).toMatchObject([{ type: 'Container', defaults: { cpu: '1' } }]);
  });

  it('are missing with their target, and unknown in a dry run', async () => {
    const { around, asked } = cluster();

    expect((await around(cpu, true)).containers('shop', cpu.target)).toBe('unknown');
    expect(asked).toEqual([]);
    expect((await around(cpu)).containers('shop', cpu.target)).toBe('missing');
  });

  it('are an error where the API server does not answer', async () => {
    const { around, server } = cluster();
    server.down = true;

    await expect(around(cpu)).rejects.toMatchObject({ code: 'KUBE_UNREACHABLE' });
  });
});
