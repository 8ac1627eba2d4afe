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
import { silentLog } from '../base/log.ts';
import { kubeClient } from './client.ts';
import { type KubeObject, resources } from './objects.ts';
import { type ReflectOptions, type Reflector, reflect } from './reflector.ts';

interface Thing extends KubeObject {
  color?: string;
}

const { signal } = new AbortController();

const thing = (name: string, resourceVersion: string, color = 'red'): Thing => ({
  metadata: { namespace: 'shop', name, uid: name, resourceVersion },
  color,
});
const event = (type: string, object: Thing) => ({ type, object });
const bookmark = (resourceVersion: string) => event('BOOKMARK', thing('', resourceVersion));

/** What the server says to lists and to watches; the last of each is said again and again. */
interface Script {
  lists: ((response: ServerResponse, request: ApiRequest) => void)[];
  watches: ((response: ServerResponse, request: ApiRequest) => void)[];
}

const listing =
  (resourceVersion: string, ...items: Thing[]) =>
  (response: ServerResponse) =>
    answerJson(response, { metadata: { resourceVersion }, items });

const telling =
  (...events: ReturnType<typeof event>[]) =>
  (response: ServerResponse) =>
    sendEvents(response, ...events);

const tellingTheEnd =
  (...events: ReturnType<typeof event>[]) =>
  (response: ServerResponse) => {
    sendEvents(response, ...events);
    response.end();
  };

const expired = (response: ServerResponse) =>
  answerStatus(response, { code: 410, reason: 'Expired', message: 'too old resource version' });

interface Bed extends AsyncDisposable {
  api: FakeApiServer;
  clock: ManualClock;
  reflector: Reflector<string>;
  told: string[];
  /** `list`, or `watch` and the version it begins at. */
  asked(): string[];
}

async function bed(script: Script, over: Partial<ReflectOptions<Thing, string>> = {}): Promise<Bed> {
  const count = { lists: 0, watches: 0 };
  const api = await fakeApiServer((request, response) => {
    const kind = request.query.has('watch') ? 'watches' : 'lists';
    const answer = script[kind][Math.min(count[kind], script[kind].length - 1)];
    count[kind] += 1;
    answer?.(response, request);
  });
  const clock = manualClock();
  const config = { server: api.url, origin: '', namespace: '', credentials: async () => ({}) };
  const client = kubeClient(config, { clock, log: silentLog });
  const told: string[] = [];
  const reflector = reflect<Thing, string>({
    client,
    clock,
    log: silentLog,
    resource: resources.configMaps,
    keep: object => object.color,
    onSet: (key, kept, before) => void told.push(`${key} ${before ?? ''}>${kept}`),
    onDelete: (key, before) => void told.push(`${key} ${before}>`),
    random: () => 0,
    ...over,
  });
  return {
    api,
    clock,
    reflector,
    told,
    asked: () =>
      api.requests.map(({ query }) =>
        query.has('watch') ? `watch ${query.get('resourceVersion')}` : 'list',
      ),
    async [Symbol.asyncDispose]() {
      await reflector[Symbol.asyncDispose]();
      await client[Symbol.asyncDispose]();
      await api[Symbol.asyncDispose]();
    },
  };
}

/** Waits until what the test says is so, letting time pass for whoever backs off. */
const until = (it: Bed, condition: () => boolean) =>
  vi.waitUntil(
    async () => {
      if (condition()) return true;
      await it.clock.advance(20);
      return condition();
    },
    { timeout: 5_000, interval: 2 },
  );

describe('a reflector', () => {
  it('has the list and then each change, by key', async () => {
    await using it = await bed({
      lists: [listing('5', thing('a', '1'), thing('b', '2'))],
      watches: [
        telling(
          event('MODIFIED', thing('a', '6', 'blue')),
          event('ADDED', thing('c', '7')),
          event('DELETED', thing('b', '8')),
        ),
      ],
    });

    await until(it, () => it.told.length === 5);

    expect(it.told).toEqual(['shop/a >red', 'shop/b >red', 'shop/a red>blue', 'shop/c >red', 'shop/b red>']);
    expect(Object.fromEntries(it.reflector.all)).toEqual({ 'shop/a': 'blue', 'shop/c': 'red' });
    expect([it.reflector.get('shop/a'), it.reflector.get('shop/b')]).toEqual(['blue', undefined]);
  });

  it('lists what is there now, not what a cache remembers', async () => {
    await using it = await bed({ lists: [listing('5')], watches: [telling()] });

    await it.reflector.whenSynced(signal);

    expect(it.api.requests[0]?.query.has('resourceVersion')).toBe(false);
  });

  it('resumes where the last event or bookmark was when a watch breaks or ends', async () => {
    await using it = await bed({
      lists: [listing('5')],
      watches: [
        tellingTheEnd(event('ADDED', thing('a', '6'))),
        tellingTheEnd(bookmark('9')),
        response => response.destroy(),
        telling(event('MODIFIED', thing('a', '10', 'blue'))),
      ],
    });

    await until(it, () => it.told.length === 2);

    expect(it.asked()).toEqual(['list', 'watch 5', 'watch 6', 'watch 9', 'watch 9']);
    expect(it.told).toEqual(['shop/a >red', 'shop/a red>blue']);
  });

  it.each([
    ['an answer', [expired]],
    [
      'an event',
      [tellingTheEnd({ type: 'ERROR', object: { kind: 'Status', code: 410 } as unknown as Thing })],
    ],
    ['an error of the server again and again', [refused500, refused500, refused500]],
    ['an event of the past, as after etcd was restored', [telling(event('MODIFIED', thing('b', '3')))]],
    ['a bookmark of the past, as after etcd was restored', [telling(bookmark('4'))]],
  ])('swaps its store by a new list after %s', async (_title, watches) => {
    await using it = await bed({
      lists: [
        listing('5', thing('a', '1'), thing('b', '2'), thing('c', '3')),
        listing('9', thing('b', '2'), thing('c', '8', 'blue'), thing('d', '7')),
      ],
      watches: [...watches, telling(bookmark('10'))],
    });

    await until(it, () => it.asked().includes('watch 9'));

    expect(it.told.slice(3)).toEqual(['shop/c red>blue', 'shop/d >red', 'shop/a red>']);
    expect([...it.reflector.all.keys()].sort()).toEqual(['shop/b', 'shop/c', 'shop/d']);
  });

  it('begins a list anew that expires between two pages', async () => {
    await using it = await bed({
      lists: [
        response =>
          answerJson(response, {
            metadata: { resourceVersion: '5', continue: 'x' },
            items: [thing('a', '1')],
          }),
        expired,
        listing('9', thing('b', '2')),
      ],
      watches: [telling()],
    });

    await until(it, () => it.reflector.synced);

    expect([...it.reflector.all.keys()]).toEqual(['shop/b']);
  });

  it('keeps nothing of what is rejected, and lets go of what is rejected later', async () => {
    await using it = await bed(
      {
        lists: [listing('5', thing('a', '1', 'none'), thing('b', '2'))],
        watches: [
          telling(event('MODIFIED', thing('b', '6', 'none')), event('DELETED', thing('a', '7', 'none'))),
        ],
      },
      { keep: object => (object.color === 'none' ? undefined : object.color) },
    );

    await until(it, () => it.told.length === 2);

    expect(it.told).toEqual(['shop/b >red', 'shop/b red>']);
    expect(it.reflector.all.size).toBe(0);
  });

  it('goes on when a handler throws', async () => {
    await using it = await bed(
      {
        lists: [listing('5', thing('a', '1'), thing('b', '2'))],
        watches: [telling(event('DELETED', thing('a', '6')), event('MODIFIED', thing('b', '7', 'blue')))],
      },
      {
        onSet: () => {
          throw new Error('a defect');
        },
        onDelete: () => {
          throw new Error('a defect');
        },
      },
    );

    await until(it, () => it.reflector.get('shop/b') === 'blue');

    expect(it.reflector.get('shop/a')).toBeUndefined();
    expect(it.asked()).toEqual(['list', 'watch 5']);
  });

  it('keeps what it had of an object that cannot be understood', async () => {
    await using it = await bed(
      {
        lists: [listing('5', thing('a', '1'))],
        watches: [telling(event('MODIFIED', thing('a', '6', 'odd')), event('ADDED', thing('b', '7')))],
      },
      {
        keep: object => {
          if (object.color === 'odd') throw new Error('a defect');
          return object.color;
        },
      },
    );

    await until(it, () => it.reflector.get('shop/b') !== undefined);

    expect(it.reflector.get('shop/a')).toBe('red');
  });

  it('waits longer and longer while the server cannot be followed, and not at all after it could', async () => {
    await using it = await bed({
      lists: [refused500, refused500, refused500, listing('5')],
      watches: [telling()],
    });
    const waits: number[] = [];
    for (let asked = 1; asked <= 3; asked += 1) {
      const since = it.clock.elapsed();
      await until(it, () => it.api.requests.length > asked);
      waits.push(it.clock.elapsed() - since);
    }

    const [first = 0, second = 0, third = 0] = waits;

    expect(first).toBeGreaterThanOrEqual(100);
    expect(second).toBeGreaterThan(first);
    expect(third).toBeGreaterThan(second);
  });

  it('does not ask without pause where each watch ends at once', async () => {
    await using it = await bed({ lists: [listing('5')], watches: [tellingTheEnd()] });

    await until(it, () => it.api.requests.length === 4);

    expect(it.asked()).toEqual(['list', 'watch 5', 'watch 5', 'watch 5']);
    expect(it.clock.elapsed()).toBeGreaterThanOrEqual(300);
  });

  it('tells who waits for the first list, and turns them away at its end', async () => {
    await using it = await bed({ lists: [() => {}], watches: [telling()] });
    const stop = new AbortController();
    const stopped = it.reflector.whenSynced(stop.signal);
    const ended = it.reflector.whenSynced(signal);
    const turnedAway = expect(ended).rejects.toMatchObject({ code: 'CANCELLED' });

    stop.abort(new Error('enough'));
    await expect(stopped).rejects.toThrow('enough');
    await it.reflector[Symbol.asyncDispose]();
    await it.reflector[Symbol.asyncDispose]();

    await turnedAway;
    expect(it.reflector.synced).toBe(false);
  });

  it('tells nothing after its end', async () => {
    const told: string[] = [];
    await using it = await bed(
      {
        lists: [listing('5')],
        watches: [
          telling(
            ...Array.from({ length: 50 }, (_, index) => event('ADDED', thing(`a${index}`, `${index + 6}`))),
          ),
        ],
      },
      {
        onSet(key) {
          told.push(key);
          void it.reflector[Symbol.asyncDispose]();
        },
      },
    );

    await vi.waitUntil(() => told.length > 0, { interval: 2 });
    await it.reflector[Symbol.asyncDispose]();

    expect(told).toEqual(['shop/a0']);
  });

  it('knows when it last heard of the server', async () => {
    let say = () => {};
    await using it = await bed({
      lists: [listing('5')],
      watches: [
        response => {
          sendEvents(response);
          say = () => sendEvents(response, bookmark('9'));
        },
      ],
    });
    const before = it.reflector.heardAt;
    await vi.waitUntil(() => it.api.requests.length === 2, { interval: 2 });
    await it.clock.advance(60_000);
    say();

    await vi.waitUntil(() => it.reflector.heardAt === 60_000, { interval: 2 });

    expect(before).toBeUndefined();
  });
});

function refused500(response: ServerResponse) {
  answerStatus(response, { code: 500, message: 'etcd is away' });
}
