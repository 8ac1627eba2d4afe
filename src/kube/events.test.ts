import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type ManualClock, manualClock, systemClock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { silentLog } from '../base/log.ts';
import { type KubeClient, kubeClient } from './client.ts';
import { type EventNote, type EventRecorder, eventRecorder } from './events.ts';

interface Request {
  method: string;
  path: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of any kind
  body: any;
}

const signal = AbortSignal.timeout(600_000);
const regarding = {
  apiVersion: 'keda.sh/v1alpha1',
  kind: 'ScaledObject',
  namespace: 'team',
  name: 'web',
  uid: 'u',
};
const note = (over: Partial<EventNote> = {}): EventNote => ({
  regarding,
  type: 'Normal',
  reason: 'Did',
  note: 'It was done.',
  ...over,
});

describe('the recorder of events', () => {
  let requests: Request[];
  let answer: number;
  let server: Server;
  let client: KubeClient;
  let clock: ManualClock;
  let said: string[];
  let recorder: EventRecorder;

  beforeEach(async () => {
    requests = [];
    said = [];
    answer = 201;
    server = createServer(async (request, response) => {
      let text = '';
      for await (const chunk of request) text += chunk;
      requests.push({ method: request.method ?? '', path: request.url ?? '', body: JSON.parse(text) });
      response.writeHead(answer, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({ kind: 'Event', metadata: { name: 'x', uid: 'e', resourceVersion: '1' } }),
      );
    });
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const config = {
      server: `http://127.0.0.1:${port}`,
      origin: 'the test',
      namespace: 'default',
      credentials: async () => ({}),
    };
    const log: Log = { ...silentLog, warn: sentence => void said.push(sentence) };
    clock = manualClock();
    client = kubeClient(config, { clock: systemClock, log: silentLog });
    recorder = eventRecorder({ client, clock, log, instance: 'pod-1', most: 10, random: () => 1 });
  });

  afterEach(async () => {
    await recorder[Symbol.asyncDispose]();
    await client[Symbol.asyncDispose]();
    await new Promise(resolve => server.close(resolve));
  });

  const untilSent = (count: number) =>
    vi.waitFor(() => expect(requests).toHaveLength(count), { timeout: 10_000 });

  it('tells what, of whom, by whom and when', async () => {
    recorder.record(note());

    await recorder.flush(signal);
    expect(requests[0]?.path).toMatch(/^\/apis\/events\.k8s\.io\/v1\/namespaces\/team\/events/);
    expect(requests[0]?.body).toEqual({
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: { name: expect.stringMatching(/^web\.[0-9a-f]{16}$/), namespace: 'team' },
      eventTime: '2026-01-01T00:00:00.000000Z',
      reportingController: 'keda-operator',
      reportingInstance: 'keda-operator-pod-1',
      action: 'Did',
      reason: 'Did',
      regarding,
      note: 'It was done.',
      type: 'Normal',
    });
  });

  it('gives what is told in one millisecond times in the order in which it was told', async () => {
    for (const reason of ['First', 'Second', 'Third']) recorder.record(note({ reason }));

    await untilSent(3);

    const inOrder = requests.map(({ body }) => `${body.eventTime} ${body.reason}`).sort();
    expect(inOrder).toEqual([
      '2026-01-01T00:00:00.000000Z First',
      '2026-01-01T00:00:00.000001Z Second',
      '2026-01-01T00:00:00.000002Z Third',
    ]);
  });

  it('tells of what has no namespace in the namespace default', async () => {
    const { namespace: _none, ...cluster } = regarding;

    recorder.record(note({ regarding: cluster }));

    await recorder.flush(signal);
    expect(requests[0]?.body.metadata.namespace).toBe('default');
  });

  it('cuts notes at 1 KiB, and no letter in half', async () => {
    recorder.record(note({ note: 'ü'.repeat(1000) }));

    await recorder.flush(signal);
    const sent: string = requests[0]?.body.note;
    expect(Buffer.byteLength(sent)).toBeLessThanOrEqual(1024);
    expect(sent).toMatch(/^ü+…$/);
  });

  it('counts repeats within six minutes into a series, sent now and then', async () => {
    recorder.record(note());
    await untilSent(1);
    for (let again = 0; again < 5; again += 1) recorder.record(note({ note: 'In other words.' }));
    await clock.advance(30_000);
    await untilSent(2);
    await clock.advance(60_000);

    expect(requests.map(({ method }) => method)).toEqual(['POST', 'PATCH']);
    expect(requests[1]?.path).toContain(requests[0]?.body.metadata.name);
    expect(requests[1]?.body).toEqual({
      series: { count: 6, lastObservedTime: '2026-01-01T00:00:00.000000Z' },
    });
  });

  it('begins anew after six minutes of silence', async () => {
    recorder.record(note());
    await untilSent(1);
    await clock.advance(6 * 60_000);

    recorder.record(note());
    await untilSent(2);

    expect(requests.map(({ method }) => method)).toEqual(['POST', 'POST']);
  });

  it.each([
    ['another reason', { reason: 'Other' }],
    ['another object', { regarding: { ...regarding, uid: 'v' } }],
    ['a note that stands alone', { alone: true }],
  ])('does not count %s as a repeat', async (_title, other) => {
    recorder.record(note(other));
    recorder.record(note());

    await recorder.flush(signal);
    expect(requests).toHaveLength(2);
  });

  it('drops the oldest when too many wait, says so once, and sends the rest when it can', async () => {
    answer = 500;
    for (let count = 0; count < 40; count += 1) recorder.record(note({ reason: `R${count}` }));
    await vi.waitFor(() => expect(requests.length).toBeGreaterThan(0));
    answer = 201;

    const sent = () => new Set(requests.map(({ body }) => body.reason));
    await vi.waitFor(
      async () => {
        await clock.advance(30_000);
        expect(sent().has('R39')).toBe(true);
      },
      { timeout: 15_000, interval: 50 },
    );

    expect(recorder.dropped).toBeGreaterThan(0);
    expect(said).toEqual(['events are dropped, because too many wait to be sent']);
  });

  it('gives up what is not accepted', async () => {
    answer = 403;

    recorder.record(note());

    await recorder.flush(signal);
    await clock.advance(600_000);
    expect(requests).toHaveLength(1);
  });
});
