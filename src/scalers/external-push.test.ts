import { status } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { hasGo } from '../../test/cluster/binaries.ts';
import { engineBed, scaledJob, scaledObject, trigger } from '../../test/engine-bed.ts';
import { type ExternalServer, type Said, startExternal } from '../../test/external-scaler.ts';
import { startGoExternal } from '../../test/external-server.ts';
import {
  faultFrom,
  mustBind,
  openContext,
  readContext,
  scalerContract,
  until,
} from '../../test/scaler-contract.ts';
import type { GrpcChannel } from '../scaler/families/grpc.ts';
import externalPush from './external-push.ts';

scalerContract(externalPush, {
  serve: () => startExternal(),
  expect: 12,
  at: ({ host, port }) => ({ params: { scalerAddress: `${host}:${port}` } }),
  protocol: 'tcp',
  saying: number =>
    startExternal({
      values: [number === '-5' ? { metricValue: -5 } : { metricValueFloat: Number(number) }],
    }),
  measures: true,
  cannot: {
    wrong: 'who is let in is for the server to say: tried with its statuses',
    missing: 'what is there is for the server to say: tried with its statuses',
    garbage: 'eight bytes are not a whole frame, so that more is waited for: tried with external',
    tlsFailure: 'the address says nothing of TLS: tried with external',
  },
});

/** A ScaledObject at zero that an engine scales by an external scaler. */
async function scaled(
  said: Partial<Said> = {},
  { specStream = false, autoscaler = 'hpa' }: { specStream?: boolean; autoscaler?: 'hpa' | 'direct' } = {},
) {
  const server = await startExternal(
    { values: [{ metricValue: 10 }], active: false, ...said },
    { specStream },
  );
  const bed = engineBed({
    autoscaler,
    random: () => 0,
    more: { [externalPush.type]: externalPush as never },
  });
  const workload = scaledObject({
    triggers: [trigger({ scalerAddress: server.address }, { type: 'external-push' })],
  });
  bed.world.targets.set(workload.key, 0);
  return {
    ...bed,
    server,
    workload,
    metrics: () => bed.world.autoscalers.get(workload.key)?.metrics ?? [],
    replicas: () => bed.world.targets.get(workload.key),
    poll: () => bed.clock.advance(workload.pollingIntervalMs),
    async begin() {
      bed.engine.set(workload);
      await bed.clock.advance(1);
    },
    /** Moves the clock, a bit at a time, until it has come true; by nothing, what is due already is done. */
    async meanwhile(holds: () => boolean, stepMs = 100) {
      while (!holds()) {
        await bed.clock.advance(stepMs);
        await new Promise(resolve => setTimeout(resolve, 2));
      }
    },
    async [Symbol.asyncDispose]() {
      await bed[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

const external = (name: string, target: number) => ({
  kind: 'external',
  name,
  targetType: 'AverageValue',
  target,
});

describe('a ScaledObject with an external scaler', () => {
  it('has an autoscaler for each of its metrics, and answers each', async () => {
    const specs = [
      { metricName: 'a.b', targetSize: 5 },
      { metricName: 'c', targetSizeFloat: 0.5 },
    ];
    await using run = await scaled({ specs });
    await run.begin();

    await until(() => run.metrics().length > 0);

    expect(run.metrics()).toEqual([external('s0-a.b', 5), external('s0-c', 0.5)]);
    for (const metricName of ['s0-a.b', 's0-c']) {
      expect(await run.engine.readMetric(run.workload.key, metricName)).toEqual({
        kind: 'values',
        values: [{ metricName, value: 10 }],
      });
    }
    expect(run.server.asked.map(({ metricName }) => metricName)).toEqual(
      expect.arrayContaining(['a.b', 'c']),
    );
    expect(await run.engine.readMetric(run.workload.key, 's0-d')).toEqual({ kind: 'missing' });
  });

  it('has the autoscaler follow what the server describes, found at a reading', async () => {
    await using run = await scaled();
    await run.begin();
    await until(() => run.metrics().length > 0);

    run.server.said.specs = [{ metricName: 'other', targetSize: 9 }];
    await run.meanwhile(() => nameOf(run) === 's0-other');

    expect(run.metrics()).toEqual([external('s0-other', 9)]);
  });

  it('has the autoscaler follow what the server tells by itself', async () => {
    await using run = await scaled({}, { specStream: true });
    await run.begin();
    await until(() => run.server.streams('StreamMetricSpec') === 1 && run.metrics().length > 0);

    run.server.tellSpecs([{ metricName: 'orders', targetSizeFloat: 2.5 }]);
    await run.meanwhile(() => targetOf(run) === 2.5, 0);

    expect(run.metrics()).toEqual([external('s0-orders', 2.5)]);
    expect(run.server.streams('StreamMetricSpec')).toBe(1);
  });

  it('asks once only for a stream of metrics that the server does not have', async () => {
    await using run = await scaled();
    await run.begin();
    await until(() => run.server.streams('StreamIsActive') === 1);

    await run.poll();
    await run.poll();

    expect(run.complaints).toEqual([]);
  });

  it('is woken at once, without a reading being due', async () => {
    await using run = await scaled();
    await run.begin();
    await until(() => run.server.streams('StreamIsActive') === 1 && run.metrics().length > 0);
    expect(run.replicas()).toBe(0);

    run.server.tellActive(true);
    await run.meanwhile(() => run.replicas() === 1, 0);

    expect(run.replicas()).toBe(1);
  });

  it('is woken straight to what is needed where there is no autoscaler', async () => {
    await using run = await scaled({}, { autoscaler: 'direct' });
    await run.begin();
    await until(() => run.server.streams('StreamIsActive') === 1);

    run.server.tellActive(true);
    await run.meanwhile(() => run.replicas() === 2, 0);

    expect(run.replicas()).toBe(2);
  });

  it('is woken even when the server cannot say how much there is', async () => {
    await using run = await scaled({ failure: { code: status.UNIMPLEMENTED, details: 'no metrics' } });
    await run.begin();
    await until(() => run.server.streams('StreamIsActive') === 1);

    run.server.tellActive(true);
    await run.meanwhile(() => run.replicas() === 1, 0);

    expect(run.replicas()).toBe(1);
  });

  it('listens again after the server was restarted', async () => {
    await using run = await scaled();
    await run.begin();
    await until(() => run.server.streams('StreamIsActive') === 1);

    await run.server.stop();
    await until(() => run.complaints.length > 0);
    await run.server.restart();
    await run.meanwhile(() => run.server.streams('StreamIsActive') === 1);
    run.server.tellActive(true);
    await run.meanwhile(() => run.replicas() === 1);

    expect(run.replicas()).toBe(1);
  });

  it('has an autoscaler once a server comes that was not there at the beginning', async () => {
    await using run = await scaled();
    await run.server.stop();
    await run.begin();
    await until(() => run.world.reportOf(run.workload) !== undefined);
    expect(run.metrics()).toEqual([]);

    await run.server.restart();
    await run.meanwhile(() => run.metrics().length > 0);

    expect(run.metrics()).toEqual([external('s0-orders', 5)]);
  });

  it('keeps its autoscaler while the server is away', async () => {
    await using run = await scaled();
    await run.begin();
    await until(() => run.metrics().length > 0);

    await run.server.stop();
    await run.poll();
    await run.meanwhile(() => run.world.reportOf(run.workload)?.ready.status !== 'True');

    expect(run.metrics()).toEqual([external('s0-orders', 5)]);
    expect(await run.engine.readMetric(run.workload.key, 's0-orders')).toMatchObject({ kind: 'failed' });
  });

  it('lets go of its streams when it is removed', async () => {
    await using run = await scaled({}, { specStream: true });
    await run.begin();
    const streams = () => run.server.streams('StreamIsActive') + run.server.streams('StreamMetricSpec');
    await until(() => streams() === 2);

    run.engine.remove(run.workload.key);
    await until(() => streams() === 0);

    expect(streams()).toBe(0);
  });
});

describe('a ScaledJob with an external scaler that tells by itself', () => {
  it('is not woken by it, which a warning says, and is read', async () => {
    await using run = await scaled({ active: true });
    const job = scaledJob({ triggers: run.workload.triggers });

    run.engine.set(job);
    await run.meanwhile(() => run.world.jobs.size > 0);

    expect(run.complaints).toEqual([expect.stringContaining('not listened to for a ScaledJob')]);
    expect(run.server.streams('StreamIsActive')).toBe(0);
  });
});

describe.skipIf(!(await hasGo()))('an external scaler in Go that tells by itself', () => {
  it('says that it is active, and that it has no stream of metrics', async () => {
    await using server = await startGoExternal();
    const params = { scalerAddress: server.address, value: '1', target: '1' };
    const bound = mustBind(externalPush, { params });
    const conn = await bound.scaler.open(bound.params, openContext(AbortSignal.timeout(5000)));
    const context = readContext(conn as GrpcChannel, AbortSignal.timeout(5000));
    const path = '/externalscaler.ExternalScaler/StreamMetricSpec';

    const told = await bound.scaler.watch?.(bound.params, context)[Symbol.asyncIterator]().next();
    const other = context.conn.listen({ path, message: Buffer.alloc(0) }, context.signal).next();

    expect(told).toEqual({ done: false, value: 'active' });
    expect((await faultFrom(other)).code).toBe('NOT_SUPPORTED');
    await bound.scaler.close(conn);
  });
});

interface Run {
  metrics(): readonly { kind: string; name?: string; target: number }[];
  server: ExternalServer;
}
const nameOf = (run: Run) => run.metrics()[0]?.name;
const targetOf = (run: Run) => run.metrics()[0]?.target;
