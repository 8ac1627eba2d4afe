import { expect, it } from 'vitest';
import { modelQueue, modelScaler, modelWorld, scaledJob, straight } from '../../test/delivery-model.ts';
import { references } from '../../test/references.ts';
import { manualClock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { createEngine } from './engine.ts';

const nothing = () => Promise.reject(new Fault('NOT_SUPPORTED', 'not here'));

it('fills the slot of a Job that ends while another slot is being filled, without waiting for the poll', async () => {
  const clock = manualClock();
  const queue = modelQueue(clock);
  const world = modelWorld(clock);
  const trigger = { index: 0, type: 'model-queue', metadata: {}, secrets: {}, useCachedMetrics: false };
  const workload = scaledJob({ maxReplicaCount: 2, triggers: [trigger] });
  let created = 0;
  let answer = () => {};
  const port = world.port(async (name, call) => {
    const result = call();
    if (name === 'createJob') created += 1;
    if (name === 'createJob' && created === 3) {
      await new Promise<void>(resolve => {
        answer = resolve;
      });
    }
    return result;
  });
  await using engine = createEngine({
    world: port,
    references: references(),
    loadScaler: async () => modelScaler(queue, straight),
    tokens: { accessToken: nothing },
    clock,
    log: silentLog,
    random: () => 0,
  });
  world.onChange = job => engine.jobChanged(workload.key, job);
  for (const id of ['a', 'b', 'c', 'd']) queue.send(id);
  engine.set(workload);
  await clock.advance(10);
  const [first = '', second = ''] = world.jobs.keys();

  world.finish(first, 'succeeded');
  await clock.advance(10);
  world.finish(second, 'succeeded');
  await clock.advance(10);
  answer();
  await clock.advance(10);

  expect(world.jobs.size).toBe(4);
});
