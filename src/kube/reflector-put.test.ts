import { afterEach, beforeEach, expect, it } from 'vitest';
import { manualClock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import type { KubeClient, WatchEvent } from './client.ts';
import { type KubeObject, resources } from './objects.ts';
import { type Reflector, reflect } from './reflector.ts';

const object = (name: string, resourceVersion: number): KubeObject => ({
  metadata: { name, namespace: 'n', uid: name, resourceVersion: String(resourceVersion) },
});

/** An API server whose every word is given: a list at a version, then the lines of a watch. */
function spoken() {
  const server = {
    items: [] as KubeObject[],
    version: 10,
    say: (_event: WatchEvent<KubeObject> | Fault) => {},
  };
  const client = {
    async *pages() {
      yield { items: server.items, resourceVersion: String(server.version) };
    },
    async *watch(_resource: unknown, { signal }: { signal: AbortSignal }) {
      for (;;) {
        const said = await new Promise<WatchEvent<KubeObject> | Fault>((resolve, reject) => {
          server.say = resolve;
          signal.addEventListener('abort', () => reject(signal.reason), { once: true });
        });
        if (said instanceof Fault) throw said;
        yield said;
      }
    },
  } as unknown as KubeClient;
  return { server, client };
}

let clock = manualClock();
let told: string[] = [];
let wanted = new Set<string>();
let server: ReturnType<typeof spoken>['server'];
let reflector: Reflector<number>;

beforeEach(async () => {
  const { server: made, client } = spoken();
  server = made;
  clock = manualClock();
  told = [];
  wanted = new Set(['a', 'b']);
  server.items = [object('a', 5), object('c', 7)];
  reflector = reflect<KubeObject, number>({
    client,
    clock,
    log: silentLog,
    resource: resources.deployments,
    keep: ({ metadata }) => (wanted.has(metadata.name) ? Number(metadata.resourceVersion) : undefined),
    onSet: (key, now, before) => void told.push(`${key} ${before ?? 'new'} ${now}`),
    onDelete: key => void told.push(`${key} gone`),
  });
  await clock.advance(0);
});

afterEach(async () => {
  await reflector[Symbol.asyncDispose]();
});

async function say(type: 'ADDED' | 'MODIFIED' | 'DELETED', name: string, version: number) {
  server.say({ type, object: object(name, version) });
  await clock.advance(0);
}

const put = (name: string, version: number) =>
  reflector.put(`n/${name}`, { version: String(version), kept: version });

it('counts what was put until the watch has come that far', async () => {
  put('a', 13);
  await say('MODIFIED', 'a', 11);
  const meanwhile = reflector.get('n/a');
  await say('MODIFIED', 'a', 13);
  await say('MODIFIED', 'a', 14);

  expect(meanwhile).toBe(13);
  expect(reflector.get('n/a')).toBe(14);
  expect(told).toEqual(['n/a new 5', 'n/a 13 13', 'n/a 13 14']);
});

it('knows better than an answer that is older than the watch', async () => {
  await say('MODIFIED', 'a', 12);
  put('a', 11);

  expect(reflector.get('n/a')).toBe(12);
});

it('keeps what was put of one made anew while the watch still tells that the old one is gone', async () => {
  put('a', 13);
  await say('DELETED', 'a', 11);
  const meanwhile = reflector.get('n/a');
  await say('DELETED', 'a', 15);

  expect(meanwhile).toBe(13);
  expect(reflector.get('n/a')).toBeUndefined();
  expect(told).toEqual(['n/a new 5', 'n/a gone']);
});

it('follows what was not wanted when the watch told of it', async () => {
  wanted.add('c');
  put('c', 7);
  await say('DELETED', 'c', 11);

  expect(reflector.get('n/c')).toBeUndefined();
  expect(told).toEqual(['n/a new 5', 'n/c gone']);
});

it('takes away what is not there any more', () => {
  reflector.put('n/a', undefined);

  expect(reflector.get('n/a')).toBeUndefined();
  expect(told).toEqual(['n/a new 5']);
});

it('has after a new list what that says, and what was put since', async () => {
  put('b', 25);
  wanted.add('c');
  put('c', 7);
  server.items = [object('a', 18)];
  server.version = 20;
  server.say(new Fault('KUBE_EXPIRED', 'too old'));
  await clock.advance(10_000);

  expect([...reflector.all]).toEqual([
    ['n/a', 18],
    ['n/b', 25],
  ]);
  expect(told).toEqual(['n/a new 5', 'n/a 5 18', 'n/c gone']);
});

it('starts from the past when that is all that is left', async () => {
  put('a', 30);
  server.items = [object('a', 6)];
  server.version = 8;
  // The watch answers with a version before the one that it was asked for.
  await say('MODIFIED', 'a', 6);
  await clock.advance(10_000);

  expect(reflector.get('n/a')).toBe(6);
});
