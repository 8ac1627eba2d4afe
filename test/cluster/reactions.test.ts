import { execFile } from 'node:child_process';
import process from 'node:process';
import { promisify } from 'node:util';
import { expect, it, vi } from 'vitest';
import { type ClusterObject, clusterOf } from './bed.ts';
import { operated, promptly } from './scaling-ground.ts';

vi.setConfig({ testTimeout: 90_000 });
const run = promisify(execFile);
const modes = [['hpa'], ['direct']] as const;

/** What is not polled within a test, so that only what the watches tell can have made the operator act. */
const unpolled = { pollingInterval: 300 };

const conditionOf = (object: ClusterObject | undefined, type: string) =>
  object?.['status']?.conditions?.find((each: { type: string }) => each.type === type);

clusterOf('the operator, as things happen', { hpaSyncSeconds: 2 }, cluster => {
  const on = operated(cluster);

  const condition = (name: string, type: string, status: string) =>
    cluster().waitFor(
      on.ground.paths.scaledObject(name),
      object => conditionOf(object, type)?.status === status,
    );

  it.each(modes)('scales a target that appears later at once (%s)', async mode => {
    const name = `late-${mode}`;
    on.ground.prometheus.set(4, name);
    await cluster().apply(on.ground.scaledObject(name, { mode, spec: unpolled }));
    const missing = await condition(name, 'Ready', 'False');

    await cluster().apply(on.ground.deployment(name));

    await on.ground.replicas(name, 4, 10_000);
    await condition(name, 'Ready', 'True');
    expect(conditionOf(missing, 'Ready').message).toContain(`there is no Deployment "${name}"`);
  });

  it('makes a HorizontalPodAutoscaler again at once that somebody deleted', async () => {
    on.ground.prometheus.set(1, 'orphan');
    await on.ground.scale('orphan', { spec: unpolled });
    const path = on.ground.paths.autoscaler('orphan');
    const first = await cluster().waitFor(path, object => object !== undefined);

    await cluster().delete(path);

    await cluster().waitFor(
      path,
      object => object !== undefined && object.metadata.uid !== first?.metadata.uid,
      { timeoutMs: 5_000 },
    );
  });

  it.each(modes)('sets a target back to what it had when its ScaledObject is deleted (%s)', async mode => {
    const name = `restored-${mode}`;
    on.ground.prometheus.set(0, name);
    await on.ground.scale(name, {
      mode,
      replicas: 3,
      spec: { advanced: { restoreToOriginalReplicaCount: true } },
    });
    await on.ground.replicas(name, 0);

    await cluster().delete(on.ground.paths.scaledObject(name));

    await on.ground.replicas(name, 3, 10_000);
    await cluster().waitFor(on.ground.paths.scaledObject(name), object => object === undefined);
  });

  it.each(modes)('stands still, or where it is told to, while it is paused (%s)', async mode => {
    const name = `paused-${mode}`;
    const annotate = (annotations: Record<string, string | null>) =>
      cluster().patch(on.ground.paths.scaledObject(name), { metadata: { annotations } });
    on.ground.prometheus.set(3, name);
    await on.ground.scale(name, { mode, spec: promptly });
    await on.ground.replicas(name, 3);

    await annotate({ 'autoscaling.keda.sh/paused-replicas': '2' });
    await on.ground.replicas(name, 2, 10_000);
    const paused = await condition(name, 'Paused', 'True');
    on.ground.prometheus.set(5, name);
    await annotate({ 'autoscaling.keda.sh/paused-replicas': null, 'autoscaling.keda.sh/paused': 'true' });
    await condition(name, 'Paused', 'True');
    const hpa = await cluster().get(on.ground.paths.autoscaler(name));
    await annotate({ 'autoscaling.keda.sh/paused': null, 'autoscaling.keda.sh/paused-scale-in': 'true' });
    await on.ground.replicas(name, 5);
    on.ground.prometheus.set(0, name);
    await condition(name, 'Active', 'False');
    await annotate({ 'autoscaling.keda.sh/paused-scale-in': null });
    await on.ground.replicas(name, 0);

    expect(paused?.['status'].pausedReplicaCount).toBe(2);
    expect(hpa).toBeUndefined();
    const reasons = (await on.ground.events(name)).map(({ reason }) => reason);
    expect(reasons).toEqual(expect.arrayContaining(['ScaledObjectPaused', 'ScaledObjectUnpaused']));
  });

  it.each(modes)('tells of each change of replicas once, and why (%s)', async mode => {
    const name = `told-${mode}`;
    on.ground.prometheus.set(0, name);
    await on.ground.scale(name, { mode, spec: promptly });
    await condition(name, 'Ready', 'True');
    for (const [value, replicas] of [
      [4, 4],
      [2, 2],
      [0, 0],
    ] as const) {
      on.ground.prometheus.set(value, name);
      await on.ground.replicas(name, replicas);
    }
    const changes = /Activated|Deactivated|ReplicasChanged/;
    const told = async () => (await on.ground.events(name)).filter(({ reason }) => changes.test(reason));
    await expect.poll(async () => (await told()).at(-1)?.['note'], { timeout: 10_000 }).toContain(' to 0: ');

    const steps = (await told()).map(
      ({ note }) => /from (\d+) to (\d+): (.+)/.exec(note)?.slice(1, 4) ?? note,
    );
    // From zero to zero without a gap, each a change that was made.
    expect([steps[0]?.[0], steps.at(-1)?.[1]]).toEqual(['0', '0']);
    for (const [index, [from]] of steps.entries()) if (index > 0) expect(from).toBe(steps[index - 1]?.[1]);
    for (const [, , why] of steps) expect(why).toMatch(/^\S+ .+\.$/);
    for (const [from, to] of steps) expect(from).not.toBe(to);
    if (mode === 'direct')
      expect(steps.slice(0, 2).map(([from, to]) => `${from}-${to}`)).toEqual(['0-4', '4-2']);
  });

  it('explains its decisions to whoever may see the ScaledObject, and to nobody else', async () => {
    on.ground.prometheus.set(2, 'why');
    await on.ground.scale('why', { mode: 'direct' });
    await on.ground.replicas('why', 2);
    const { namespace } = on.ground;
    await cluster().apply({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata: { name: 'viewer', namespace },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'viewer' }],
    });
    const explain = async (user: string, name: string) => {
      const kubeconfig = await cluster().userKubeconfig({ user });
      const args = [on.installed.entry, 'explain', name, '-n', namespace, `--kubeconfig=${kubeconfig}`];
      const said = (each: { stdout: string; stderr: string }) => each.stdout + each.stderr;
      return await run(process.execPath, args, { env: { PATH: process.env['PATH'] } }).then(said, said);
    };

    const [told, refused, unknown] = [
      await explain('viewer', 'so/why'),
      await explain('stranger', 'so/why'),
      await explain('viewer', 'so/nothing'),
    ];

    expect(told).toMatch(/from 0 to 2/);
    expect(refused).toMatch(/stranger.*(cannot|not allowed)/);
    expect(refused).not.toMatch(/from 0/);
    expect(unknown).toMatch(/nothing/);
  });

  it('fills in the columns that kubectl shows', async () => {
    on.ground.prometheus.set(1, 'shown');
    await on.ground.scale('shown');
    await condition('shown', 'Active', 'True');
    const accept = 'application/json;as=Table;v=v1;g=meta.k8s.io';

    const answer = await cluster().request('GET', on.ground.paths.scaledObject('shown'), {
      headers: { accept },
    });

    const { columnDefinitions, rows } = answer.body as {
      columnDefinitions: { name: string }[];
      rows: { cells: unknown[] }[];
    };
    const row = Object.fromEntries(columnDefinitions.map(({ name }, at) => [name, rows[0]?.cells[at]]));
    expect(row).toMatchObject({
      ScaleTargetKind: 'apps/v1.Deployment',
      ScaleTargetName: 'shown',
      Triggers: 'prometheus',
      Ready: 'True',
      Active: 'True',
      Fallback: 'False',
      Paused: 'False',
    });
  });
});
