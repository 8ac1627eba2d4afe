import { Agent, request } from 'undici';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Installed } from '../e2e/eventide.ts';
import { Api, ApiError } from './api.ts';
import { clusterOf } from './bed.ts';
import { installOperator, type RunningOperator, startOperator } from './operator.ts';
import { type ScalingGround, scalingGround } from './scaling-ground.ts';

clusterOf('the operator, asked by strangers', { hpaSyncSeconds: 2 }, cluster => {
  let installed: Installed;
  let operator: RunningOperator;
  let ground: ScalingGround;
  // What it shows is not for us to verify here.
  const agent = new Agent({ connect: { rejectUnauthorized: false } });

  beforeAll(async () => {
    installed = await installOperator(cluster());
    operator = await startOperator(cluster(), installed);
    await operator.leads();
    await operator.ready();
    ground = await scalingGround(cluster());
    ground.prometheus.set(2, 'web');
    await ground.scale('web');
    await ground.replicas('web', 2);
  }, 120_000);
  afterAll(async () => {
    await agent.close();
    await operator?.[Symbol.asyncDispose]();
    await ground?.[Symbol.asyncDispose]();
    await installed?.[Symbol.asyncDispose]();
  });

  const metric = (name: string, scaledObject: string) =>
    `/apis/external.metrics.k8s.io/v1beta1/namespaces/${ground.namespace}/${name}` +
    `?labelSelector=scaledobject.keda.sh/name%3D${scaledObject}`;

  it('survives garbage at its webhooks, and judges what comes after it', async () => {
    const url = `https://127.0.0.1:${operator.ports.webhooks}/validate-keda-sh-v1alpha1-scaledobject`;
    const headers = { 'content-type': 'application/json' };
    const statuses: number[] = [];
    for (const body of ['', '\u0000\u0001garbage', '[]', '{"request":{"object":7}}', 'x'.repeat(8_000_000)]) {
      const status = await request(url, { method: 'POST', dispatcher: agent, headers, body }).then(
        async answer => {
          await answer.body.dump();
          return answer.statusCode;
        },
        // It may hang up on what is too long while it is being sent.
        () => 413,
      );
      statuses.push(status);
    }

    const second = { ...ground.scaledObject('second'), spec: ground.scaledObject('web')['spec'] };
    const refusal = await cluster()
      .apply(second)
      .catch((thrown: unknown) => thrown);

    expect(statuses).toEqual([400, 400, 400, 400, 413]);
    expect(refusal).toBeInstanceOf(ApiError);
    expect(String(refusal)).toContain('web');
    expect(operator.log).not.toMatch(/ERROR/);
  }, 60_000);

  it('refuses its metrics to who may not read them, and does not know what is not there', async () => {
    const { cert, key } = await cluster().userCertificate({ user: 'stranger' });
    await using stranger = new Api({ url: cluster().url, ca: cluster().ca, cert, key });

    const refused = await stranger.request('GET', metric('s0-prometheus', 'web'));
    const told = await cluster().request('GET', metric('s0-prometheus', 'web'));
    const unknown = await cluster().request('GET', metric('s7-nothing', 'web'));
    const nobody = await cluster().request('GET', metric('s0-prometheus', 'nobody'));
    const direct = await request(
      `https://127.0.0.1:${operator.ports.metricsApi}${metric('s0-prometheus', 'web')}`,
      {
        dispatcher: agent,
      },
    );
    await direct.body.dump();

    expect([refused.status, told.status, unknown.status, nobody.status]).toEqual([403, 200, 404, 404]);
    expect(direct.statusCode).toBe(403);
    expect(told.body).toMatchObject({ items: [{ metricName: 's0-prometheus', value: '2' }] });
    expect(unknown.body).toMatchObject({ kind: 'Status', reason: 'NotFound' });
  }, 60_000);
});
