import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Installed } from '../e2e/eventide.ts';
import { clusterOf } from './bed.ts';
import { kedaModule } from './binaries.ts';
import { installOperator, type RunningOperator, startOperator } from './operator.ts';
import { promptly, type ScalingGround, scalingGround } from './scaling-ground.ts';

clusterOf("the operator, with KEDA's CRDs", { hpaSyncSeconds: 2 }, cluster => {
  let installed: Installed;
  let operator: RunningOperator;
  let ground: ScalingGround;

  beforeAll(async () => {
    installed = await installOperator(cluster());
    const folder = join(await kedaModule(), 'config/crd/bases');
    for (const name of await readdir(folder)) {
      const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${crdOf(name)}`;
      await cluster().delete(path);
      await cluster().waitFor(path, crd => crd === undefined);
      await cluster().apply(await readFile(join(folder, name), 'utf8'));
    }
    operator = await startOperator(cluster(), installed);
    await operator.leads();
    ground = await scalingGround(cluster());
  }, 180_000);
  afterAll(async () => {
    await operator?.[Symbol.asyncDispose]();
    await ground?.[Symbol.asyncDispose]();
    await installed?.[Symbol.asyncDispose]();
  });

  it('says once what they drop, and does all that KEDA does', async () => {
    ground.prometheus.set(3, 'web');
    ground.prometheus.set(1, 'work');
    await cluster().apply(ground.deployment('web'));
    // Not by server-side apply, which refuses what is not in the CRD instead of dropping it.
    await cluster().create(ground.scaledObject('web', { mode: 'direct', spec: promptly }));
    await ground.jobs('work', { maxReplicaCount: 1 });

    await ground.replicas('web', 3);
    await cluster().waitForList(
      `/apis/batch/v1/namespaces/${ground.namespace}/jobs`,
      jobs => jobs.length > 0,
    );
    ground.prometheus.set(0, 'web');
    await ground.replicas('web', 0);

    const { paths } = ground;
    const hpa = await cluster().get(paths.autoscaler('web'));
    const web = await cluster().get(paths.scaledObject('web'));
    const about = await cluster().list('/apis/events.k8s.io/v1/namespaces/default/events');
    const pruned = about.filter(({ reason }) => reason === 'FieldsPruned');
    // `direct` is of our own making, so it is dropped, and the autoscaler is what it is without.
    expect(web?.['spec'].eventide).toBeUndefined();
    expect(hpa?.['spec'].scaleTargetRef.name).toBe('web');
    expect(pruned.map(({ regarding }) => regarding.name).sort()).toEqual([
      'scaledjobs.keda.sh',
      'scaledobjects.keda.sh',
    ]);
    expect(pruned[0]?.['note']).toMatch(/the API server drops .*spec\.eventide/);
    const complaints = operator.log.split('\n').filter(line => /WARN|ERROR/.test(line));
    expect(complaints.map(line => / crd=(\S+)/.exec(line)?.[1])).toEqual([
      'scaledobjects.keda.sh',
      'scaledjobs.keda.sh',
    ]);
  }, 90_000);
});

/** `keda.sh_scaledobjects.yaml` holds `scaledobjects.keda.sh`. */
const crdOf = (file: string) => file.replace(/^(.+)_(.+)\.yaml$/, '$2.$1');
