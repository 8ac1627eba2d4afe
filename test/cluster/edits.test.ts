import { setTimeout as pause } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { ApiError } from './api.ts';
import { type ClusterObject, clusterOf } from './bed.ts';
import { operated, promptly } from './scaling-ground.ts';

const conditionOf = (object: ClusterObject | undefined, type: string) =>
  object?.['status']?.conditions?.find((each: { type: string }) => each.type === type);

clusterOf('the operator, while others write too', { hpaSyncSeconds: 2 }, cluster => {
  const on = operated(cluster);

  /** How often the API server was asked to write such a thing. */
  async function writes(resource: string, subresource = ''): Promise<number> {
    const { body } = await cluster().request('GET', '/metrics');
    const line = new RegExp(
      `^apiserver_request_total\\{(?=.*[{,]resource="${resource}")(?=.*,subresource="${subresource}")(?=.*verb="(?:PATCH|APPLY|PUT|POST)").*\\} (\\d+)$`,
      'gm',
    );
    return [...String(body).matchAll(line)].reduce((sum, [, count]) => sum + Number(count), 0);
  }

  const ready = (name: string) =>
    cluster().waitFor(
      on.ground.paths.scaledObject(name),
      object => conditionOf(object, 'Ready')?.status === 'True',
    );

  it('follows a ScaledObject that is edited ten times a second, and writes little about it', async () => {
    on.ground.prometheus.set(30, 'edited');
    await on.ground.scale('edited', { spec: { maxReplicaCount: 1 } });
    await ready('edited');
    await on.ground.replicas('edited', 1);
    const [statusBefore, hpaBefore, warned] = [
      await writes('scaledobjects', 'status'),
      await writes('horizontalpodautoscalers'),
      on.operator.log.length,
    ];

    for (let edit = 2; edit <= 60; edit += 1) {
      await cluster().patch(on.ground.paths.scaledObject('edited'), {
        spec: { maxReplicaCount: 1 + (edit % 19) },
      });
      await pause(100);
    }
    await cluster().patch(on.ground.paths.scaledObject('edited'), { spec: { maxReplicaCount: 20 } });
    await on.ground.replicas('edited', 20);

    const hpa = await cluster().get(on.ground.paths.autoscaler('edited'));
    const events = await on.ground.events('edited');
    const log = on.operator.log.slice(warned);
    expect(hpa?.['spec'].maxReplicas).toBe(20);
    // Its conditions and its replicas stay as they are: there is next to nothing to write.
    expect((await writes('scaledobjects', 'status')) - statusBefore).toBeLessThan(5);
    expect((await writes('horizontalpodautoscalers')) - hpaBefore).toBeLessThan(65);
    expect(events.filter(({ type }) => type === 'Warning')).toEqual([]);
    expect(log).not.toMatch(/WARN|ERROR/);
  }, 90_000);

  it('gets its way, and leaves others theirs, where they edit the same objects all the time', async () => {
    on.ground.prometheus.set(2, 'contested');
    await on.ground.scale('contested', { spec: promptly });
    await ready('contested');
    await on.ground.replicas('contested', 2);
    const { scaledObject, autoscaler, deployment } = on.ground.paths;
    const [so, hpa, target] = [scaledObject('contested'), autoscaler('contested'), deployment('contested')];
    let over = false;
    const again = async (work: (turn: number) => Promise<unknown>) => {
      for (let turn = 0; !over; turn += 1) {
        await work(turn).catch(thrown => {
          // What is being deleted or was just written by the on.operator.
          if (!(thrown instanceof ApiError && [404, 409, 422].includes(thrown.status))) throw thrown;
        });
        await pause(20);
      }
    };

    const others = [
      again(turn => cluster().patch(so, { metadata: { labels: { turn: String(turn) } } })),
      again(async turn => {
        const { metadata } = (await cluster().get(so)) ?? { metadata: { finalizers: [] } };
        const rest = (metadata.finalizers ?? []).filter(each => each !== 'test.example/held');
        const finalizers = turn % 2 === 0 ? ['test.example/held', ...rest] : rest;
        await cluster().patch(so, { metadata: { ...metadata, finalizers } });
      }),
      again(turn => cluster().patch(hpa, { spec: { maxReplicas: 30 + turn } })),
      again(turn => cluster().patch(hpa, { metadata: { labels: { turn: String(turn) } } })),
      again(turn => cluster().patch(`${so}/status`, { status: { hpaName: `theirs-${turn}` } })),
      again(turn => cluster().patch(target, { metadata: { annotations: { turn: String(turn) } } })),
    ];
    await pause(1_500);
    on.ground.prometheus.set(6, 'contested');
    await on.ground.replicas('contested', 6);
    on.ground.prometheus.set(0, 'contested');
    await on.ground.replicas('contested', 0);
    over = true;
    await Promise.all(others);

    await cluster().waitFor(hpa, object => object?.['spec'].maxReplicas === 100);
    const calm = await cluster().waitFor(
      so,
      object =>
        object?.['status'].hpaName === 'keda-hpa-contested' &&
        conditionOf(object, 'Ready')?.status === 'True',
    );
    expect(calm?.metadata.finalizers).toContain('finalizer.keda.sh');
    expect(calm?.metadata.labels).toMatchObject({ turn: expect.stringMatching(/^\d+$/) });
    expect(on.operator.log).not.toMatch(/ERROR/);
  }, 120_000);
});
