import type { ServerResponse } from 'node:http';
import { describe, expect, it, vi } from 'vitest';
import {
  type ApiRequest,
  answerJson,
  answerStatus,
  type FakeApiServer,
  fakeApiServer,
  sendEvents,
} from '../../test/fake-api-server.ts';
import { type ManualClock, manualClock } from '../base/clock.ts';
import type { Fault } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { kubeClient } from './client.ts';
import { type Leadership, type LeadershipOptions, leadership } from './lease.ts';
import type { Lease, LeaseSpec } from './lease-record.ts';

const { signal } = new AbortController();

/** One lease, and what the API server does with requests for it. */
interface LeaseServer extends AsyncDisposable {
  api: FakeApiServer;
  lease: Lease | undefined;
  /** Writes as somebody else would. */
  write(spec: LeaseSpec): void;
  remove(): void;
  /** Answers nothing, or refuses watches, while true. */
  silent: boolean;
  unwatchable: boolean;
}

async function leaseServer(): Promise<LeaseServer> {
  let version = 0;
  const watches = new Set<ServerResponse>();
  const store = (type: string, lease: Lease) => {
    version += 1;
    lease.metadata.resourceVersion = String(version);
    server.lease = type === 'DELETED' ? undefined : lease;
    if (!server.silent) for (const watch of watches) sendEvents(watch, { type, object: lease });
  };
  const answerList = (request: ApiRequest, response: ServerResponse) => {
    const items = server.lease === undefined ? [] : [server.lease];
    if (server.unwatchable) answerStatus(response, { code: 403 });
    else if (!request.query.has('watch'))
      answerJson(response, { items, metadata: { resourceVersion: String(version) } });
    else {
      sendEvents(response);
      watches.add(response);
    }
  };
  const answerWrite = ({ method, body }: ApiRequest, response: ServerResponse) => {
    const lease = body as Lease;
    if (method === 'POST' && server.lease !== undefined) {
      return answerStatus(response, { code: 409, reason: 'AlreadyExists' });
    }
    if (method === 'PUT' && server.lease === undefined) return answerStatus(response, { code: 404 });
    if (method === 'PUT' && lease.metadata.resourceVersion !== server.lease?.metadata.resourceVersion) {
      return answerStatus(response, { code: 409, reason: 'Conflict' });
    }
    store(method === 'POST' ? 'ADDED' : 'MODIFIED', lease);
    answerJson(response, lease);
  };
  const api = await fakeApiServer((request, response) => {
    if (server.silent) return;
    if (request.method !== 'GET') answerWrite(request, response);
    else if (request.path.endsWith('/leases')) answerList(request, response);
    else if (server.lease !== undefined) answerJson(response, server.lease);
    else answerStatus(response, { code: 404, details: { name: 'operator.keda.sh' } });
  });
  const server: LeaseServer = {
    api,
    lease: undefined,
    silent: false,
    unwatchable: false,
    write(spec) {
      const metadata = { namespace: 'keda', name: 'operator.keda.sh', uid: '1', resourceVersion: '' };
      store(server.lease === undefined ? 'ADDED' : 'MODIFIED', { metadata, spec });
    },
    remove() {
      if (server.lease !== undefined) store('DELETED', server.lease);
    },
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
  return server;
}

interface Candidate extends AsyncDisposable {
  leadership: Leadership;
  clock: ManualClock;
  lost: Fault[];
}

function candidate(server: LeaseServer, over: Partial<LeadershipOptions> = {}): Candidate {
  const clock = manualClock();
  const config = { server: server.api.url, origin: '', namespace: '', credentials: async () => ({}) };
  const client = kubeClient(config, { clock, log: silentLog });
  const lost: Fault[] = [];
  const standing = leadership({
    client,
    clock,
    log: silentLog,
    namespace: 'keda',
    name: 'operator.keda.sh',
    identity: 'us',
    onLost: fault => void lost.push(fault),
    random: () => 0,
    ...over,
  });
  return {
    leadership: standing,
    clock,
    lost,
    async [Symbol.asyncDispose]() {
      await standing[Symbol.asyncDispose]();
      await client[Symbol.asyncDispose]();
    },
  };
}

/**
 * Lets time pass until something is so or the time is over. After each half second the requests it led to are
 * answered: server and client share this process, so that takes turns of its event loop, not time.
 */
async function pass(it: Candidate, ms: number, until: () => boolean = () => false): Promise<void> {
  const end = it.clock.elapsed() + ms;
  while (it.clock.elapsed() < end && !until()) {
    await it.clock.advance(Math.min(500, end - it.clock.elapsed()));
    for (let turn = 0; turn < 60; turn += 1) await new Promise(resolve => setImmediate(resolve));
  }
}

const theirs: LeaseSpec = {
  holderIdentity: 'them',
  leaseDurationSeconds: 15,
  acquireTime: '2020-01-01T00:00:00.000000Z',
  renewTime: '2020-01-01T00:00:00.000000Z',
  leaseTransitions: 3,
};
const renewal = (second: number): LeaseSpec => ({
  ...theirs,
  renewTime: `2020-01-01T00:00:${String(second).padStart(2, '0')}.000000Z`,
});

describe('leadership', () => {
  it('begins with a lease of our own where there is none', async () => {
    await using server = await leaseServer();
    await using it = candidate(server);

    await it.leadership.whenLeading(signal);

    expect(server.lease?.spec).toEqual({
      holderIdentity: 'us',
      leaseDurationSeconds: 15,
      acquireTime: '2026-01-01T00:00:00.000000Z',
      renewTime: '2026-01-01T00:00:00.000000Z',
      leaseTransitions: 0,
    });
  });

  it('is renewed every two seconds, and stays ours however the wall clock jumps', async () => {
    await using server = await leaseServer();
    await using it = candidate(server);
    await it.leadership.whenLeading(signal);

    await pass(it, 10_000);
    it.clock.jump(3_600_000);
    await pass(it, 10_000);
    it.clock.jump(-7_200_000);
    await pass(it, 10_000);

    expect([it.leadership.leading, it.lost]).toEqual([true, []]);
    const renewals = server.api.requests.filter(({ method }) => method === 'PUT').length;
    expect(renewals).toBeGreaterThanOrEqual(12);
    expect(renewals).toBeLessThanOrEqual(15);
    expect(server.lease?.spec).toMatchObject({
      acquireTime: '2026-01-01T00:00:00.000000Z',
      leaseTransitions: 0,
    });
  });

  it('is taken when the holder has not renewed for its duration since we look, whatever its times say', async () => {
    await using server = await leaseServer();
    server.write(theirs);
    await using it = candidate(server);
    await vi.waitUntil(() => it.leadership.leader === 'them', { interval: 2 });

    await pass(it, 14_000);
    const early = it.leadership.leading;
    await pass(it, 3_000, () => it.leadership.leading);

    expect([early, it.leadership.leading]).toEqual([false, true]);
    expect(server.lease?.spec).toMatchObject({ holderIdentity: 'us', leaseTransitions: 4 });
  });

  it('is taken at once from a process that ran in the same pod before us', async () => {
    await using server = await leaseServer();
    server.write({ ...theirs, holderIdentity: 'pod-1_before' });
    await using it = candidate(server, { identity: 'pod-1_now', before: 'pod-1_' });

    await it.leadership.whenLeading(signal);

    expect(it.clock.elapsed()).toBe(0);
    expect(server.lease?.spec).toMatchObject({ holderIdentity: 'pod-1_now', leaseTransitions: 4 });
  });

  it('is not taken from a holder that renews it, nor from one whose lease somebody put a label on', async () => {
    await using server = await leaseServer();
    server.write(theirs);
    await using it = candidate(server);
    await vi.waitUntil(() => it.leadership.leader === 'them', { interval: 2 });

    for (let second = 1; second < 6; second += 1) {
      await pass(it, 10_000);
      server.write(renewal(second));
    }
    const early = it.leadership.leading;
    await pass(it, 10_000);
    server.write(renewal(5));
    await pass(it, 6_500, () => it.leadership.leading);

    expect([early, it.leadership.leading]).toEqual([false, true]);
  });

  it('costs those who stand by no requests while the holder renews it', async () => {
    await using server = await leaseServer();
    server.write(theirs);
    await using it = candidate(server);
    await vi.waitUntil(() => server.api.requests.length === 3, { interval: 2 });

    for (let second = 1; second < 10; second += 1) {
      await pass(it, 2_000);
      server.write(renewal(second));
    }

    expect(server.api.requests.length).toBeLessThanOrEqual(4);
  });

  it.each([
    [
      'released',
      (server: LeaseServer) => server.write({ ...theirs, holderIdentity: '', leaseDurationSeconds: 1 }),
    ],
    ['deleted', (server: LeaseServer) => server.remove()],
  ])('is taken at once when it is %s', async (_title, free) => {
    await using server = await leaseServer();
    server.write(theirs);
    await using it = candidate(server);
    await vi.waitUntil(() => server.api.requests.length === 3, { interval: 2 });

    free(server);
    await it.leadership.whenLeading(signal);

    expect(it.clock.elapsed()).toBe(0);
  });

  it('is noticed to be free by asking where it may not be watched', async () => {
    await using server = await leaseServer();
    server.unwatchable = true;
    server.write(theirs);
    await using it = candidate(server);
    await vi.waitUntil(() => it.leadership.leader === 'them', { interval: 2 });
    server.write({ ...theirs, holderIdentity: '' });

    await pass(it, 5_000, () => it.leadership.leading);

    expect(it.leadership.leading).toBe(true);
  });

  it('goes to one of two who try at once', async () => {
    await using server = await leaseServer();
    await using us = candidate(server);
    await using others = candidate(server, { identity: 'others' });

    await Promise.race([us.leadership.whenLeading(signal), others.leadership.whenLeading(signal)]);
    await Promise.all([pass(us, 5_000), pass(others, 5_000)]);

    expect([us.leadership.leading, others.leadership.leading].sort()).toEqual([false, true]);
    expect([us.lost, others.lost]).toEqual([[], []]);
  });

  it('is lost, before anybody else may take it, when the lease cannot be renewed', async () => {
    await using server = await leaseServer();
    await using it = candidate(server);
    await it.leadership.whenLeading(signal);
    await pass(it, 4_000);
    const lastRenewal = () => Date.parse(server.lease?.spec?.renewTime ?? '');
    server.silent = true;

    await pass(it, 8_000);
    const early = it.lost.length;
    await pass(it, 10_000, () => it.lost.length > 0);

    expect([early, it.lost.map(fault => fault.code), it.leadership.leading]).toEqual([
      0,
      ['KUBE_UNREACHABLE'],
      false,
    ]);
    expect(it.clock.now() - lastRenewal()).toBeLessThan(15_000);
  });

  it('survives an API server that is away for a moment', async () => {
    await using server = await leaseServer();
    await using it = candidate(server);
    await it.leadership.whenLeading(signal);
    server.silent = true;

    await pass(it, 6_000);
    server.silent = false;
    await pass(it, 30_000);

    expect([it.leadership.leading, it.lost]).toEqual([true, []]);
  });

  it('is lost to whoever is written into it', async () => {
    await using server = await leaseServer();
    await using it = candidate(server);
    await it.leadership.whenLeading(signal);

    server.write(theirs);
    await pass(it, 3_000, () => it.lost.length > 0);

    expect(it.lost.map(({ code, message }) => [code, message])).toEqual([
      ['KUBE_CONFLICT', 'the lease keda/operator.keda.sh was taken by them'],
    ]);
  });

  it('survives somebody who labels or deletes the lease', async () => {
    await using server = await leaseServer();
    await using it = candidate(server);
    await it.leadership.whenLeading(signal);

    server.write(server.lease?.spec ?? {});
    await pass(it, 5_000);
    server.remove();
    await pass(it, 5_000);

    expect([it.leadership.leading, it.lost, server.lease?.spec?.holderIdentity]).toEqual([true, [], 'us']);
  });

  it('leaves a lease that nobody has to wait for when it is released, and says nothing was lost', async () => {
    await using server = await leaseServer();
    await using it = candidate(server);
    await it.leadership.whenLeading(signal);

    await it.leadership.release(signal);
    await it.leadership.release(signal);

    expect(server.lease?.spec).toMatchObject({ holderIdentity: '', leaseDurationSeconds: 1 });
    expect([it.leadership.leading, it.lost]).toEqual([false, []]);
  });

  it('leaves the lease of others alone when it is released', async () => {
    await using server = await leaseServer();
    server.write(theirs);
    await using it = candidate(server);
    await vi.waitUntil(() => it.leadership.leader === 'them', { interval: 2 });

    await it.leadership.release(signal);

    expect(server.lease?.spec).toEqual(theirs);
    await expect(it.leadership.whenLeading(signal)).rejects.toMatchObject({ code: 'CANCELLED' });
  });
});
