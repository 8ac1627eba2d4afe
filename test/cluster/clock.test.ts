import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Installed } from '../e2e/eventide.ts';
import { clusterOf, until } from './bed.ts';
import { installOperator, type RunningOperator, startOperator } from './operator.ts';
import { promptly, type ScalingGround, scalingGround } from './scaling-ground.ts';

const hourMs = 3_600_000;

clusterOf('the operator, when its clock is set', { hpaSyncSeconds: 2 }, cluster => {
  let installed: Installed;
  let operator: RunningOperator;
  let ground: ScalingGround;

  beforeAll(async () => {
    installed = await installOperator(cluster());
    operator = await startOperator(cluster(), installed, { ownClock: true });
    await operator.leads();
    ground = await scalingGround(cluster());
    for (const mode of ['hpa', 'direct'] as const) {
      for (const [name, value, cooldownPeriod] of [
        ['busy', 3, 2],
        ['resting', 2, 600],
        ['asleep', 0, 2],
      ] as const) {
        ground.prometheus.set(value, `${mode}-${name}`);
        await ground.scale(`${mode}-${name}`, { mode, spec: { cooldownPeriod, ...promptly } });
      }
    }
    for (const mode of ['hpa', 'direct']) {
      await ground.replicas(`${mode}-busy`, 3);
      await ground.replicas(`${mode}-resting`, 2);
      ground.prometheus.set(0, `${mode}-resting`);
      await ground.replicas(`${mode}-resting`, 1);
    }
  }, 120_000);
  afterAll(async () => {
    await operator?.[Symbol.asyncDispose]();
    await ground?.[Symbol.asyncDispose]();
    await installed?.[Symbol.asyncDispose]();
  });

  /** Every source is read some times more. */
  async function polls(): Promise<void> {
    const enough = ground.prometheus.seen.requests + 6 * 4;
    await until(
      () => ground.prometheus.seen.requests,
      requests => requests >= enough,
    );
  }

  it.each([
    ['forth', 26 * hourMs],
    // Never to before the certificates of the bed were made: they would not hold yet.
    ['back', hourMs],
    ['right', 0],
  ])(
    'scales nothing because it is set %s, and goes on as before',
    async (_title, aheadMs) => {
      const before = await ground.standing();
      const saidBefore = operator.log.length;

      operator.setClock(aheadMs);
      await polls();

      expect(await ground.standing()).toEqual(before);
      expect(operator.log.slice(saidBefore)).not.toMatch(/WARN|ERROR/);
      // With cooldowns as long as they say, and no longer.
      for (const name of ['hpa-asleep', 'direct-asleep']) {
        ground.prometheus.set(2, name);
        await ground.replicas(name, 2, 15_000);
        ground.prometheus.set(0, name);
        await ground.replicas(name, 0, 15_000);
      }
    },
    90_000,
  );
});
