import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Installed } from '../e2e/eventide.ts';
import { clusterOf } from './bed.ts';
import { installOperator, type RunningOperator, startOperator } from './operator.ts';

clusterOf('the operator on a cluster', { hpaSyncSeconds: 2 }, cluster => {
  let installed: Installed;
  let operator: RunningOperator;

  beforeAll(async () => {
    installed = await installOperator(cluster());
    operator = await startOperator(cluster(), installed);
    await operator.leads();
  }, 120_000);
  afterAll(async () => {
    await operator?.[Symbol.asyncDispose]();
    await installed?.[Symbol.asyncDispose]();
  });

  it('is ready, and complains of nothing', async () => {
    await operator.ready();

    expect(operator.log).not.toMatch(/WARN|ERROR/);
  }, 60_000);
});
