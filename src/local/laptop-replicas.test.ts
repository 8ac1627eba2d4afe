import { lstat, mkdir, readdir, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { eventually, isAlive, startLaptop, type TestLaptop, webManifest } from '../../test/laptop.ts';
import { manualClock } from '../base/clock.ts';

const signal = new AbortController().signal;
const ready = (test: TestLaptop, count: number) =>
  eventually(async () => (await test.laptop.readTarget(test.scaledObject, signal)).readyReplicas === count);
const scale = (test: TestLaptop, replicas: number) =>
  test.laptop.setReplicas(test.scaledObject, replicas, signal);
const sleeper = 'echo "$HOSTNAME $$" >> pids; exec sleep 300';

async function pids(test: TestLaptop): Promise<Map<string, number>> {
  const lines = (await test.read('pids')).split('\n').filter(line => line !== '');
  return new Map(lines.map(line => [line.split(' ')[0] ?? '', Number(line.split(' ')[1])]));
}

describe('replicas on a laptop', () => {
  it('starts the replicas of the manifest', async () => {
    await using test = await startLaptop({ manifest: webManifest(sleeper, { replicas: 2 }) });

    await ready(test, 2);

    expect(await test.laptop.readTarget(test.scaledObject, signal)).toEqual({
      replicas: 2,
      readyReplicas: 2,
    });
  });

  it('scales up at once and down from the newest, without waiting for the end', async () => {
    const script = `trap 'sleep 0.4; exit' TERM; echo "$HOSTNAME $$" >> pids; while :; do sleep 0.02; done`;
    await using test = await startLaptop({ manifest: webManifest(script) });
    await scale(test, 3);
    await eventually(async () => (await pids(test)).size === 3);

    await scale(test, 1);
    const rightAfter = await test.laptop.readTarget(test.scaledObject, signal);
    const stillThere = await isAlive((await pids(test)).get('web-2') ?? 0);
    await eventually(async () => !(await isAlive((await pids(test)).get('web-2') ?? 0)));
    await eventually(async () => !(await isAlive((await pids(test)).get('web-1') ?? 0)));

    expect(rightAfter).toEqual({ replicas: 1, readyReplicas: 1 });
    expect(stillThere).toBe(true);
    expect(await isAlive((await pids(test)).get('web-0') ?? 0)).toBe(true);
  });

  it('lets a StatefulSet wait for the end of the pod whose name it needs', async () => {
    const script = `trap 'sleep 0.3; echo end >> log; exit' TERM; echo start >> log; while :; do sleep 0.02; done`;
    await using test = await startLaptop({ manifest: webManifest(script, { kind: 'StatefulSet' }) });
    await scale(test, 1);
    await eventually(() => test.read('log'));

    await scale(test, 0);
    await scale(test, 1);
    await eventually(async () => (await test.read('log')).split('\n').length === 3);

    expect(await test.read('log')).toBe('start\nend\nstart');
  });

  it('kills the whole group of a pod that ignores SIGTERM when the grace period is over', async () => {
    const script = `trap '' TERM; sleep 300 & echo "child $!" >> pids; echo "main $$" >> pids; wait; sleep 300`;
    const test = await startLaptop({ manifest: webManifest(script, { replicas: 1 }) });
    await eventually(async () => (await pids(test)).size === 2);

    await test[Symbol.asyncDispose]();

    for (const pid of (await pids(test)).values()) expect(await isAlive(pid)).toBe(false);
  });

  it('starts a pod that ends again, at once and then later each time', async () => {
    const clock = manualClock();
    await using test = await startLaptop({
      manifest: webManifest('echo x >> tries', { replicas: 1 }),
      clock,
    });
    const tries = async () => (await test.read('tries')).split('\n').filter(line => line !== '').length;
    const starts: number[] = [];

    for (let count = 2; count <= 4; count += 1) {
      await eventually(async () => {
        if ((await tries()) >= count) return true;
        // A process takes time that this clock does not know of.
        await new Promise(resolve => setTimeout(resolve, 30));
        if ((await tries()) < count && starts.length > 0) await clock.advance(500);
        return false;
      });
      starts.push(clock.elapsed());
    }

    const [second = 0, third = 0, fourth = 0] = starts;
    expect(second).toBe(0);
    expect(third - second).toBeGreaterThanOrEqual(10_000);
    expect(fourth - third).toBeGreaterThanOrEqual(20_000);
  });

  it('runs all containers of a pod, and says which of them printed a line', async () => {
    const two = `- { name: second, image: none, command: [/bin/sh, -c, "echo hello; exec sleep 300"] }`;
    const manifest = webManifest('echo hi; exec sleep 300', { replicas: 1 }).replace(
      /---/,
      `        ${two}\n---`,
    );
    await using test = await startLaptop({ manifest });

    await eventually(() => test.output.length === 2);

    expect(test.output.map(line => `${line.process} ${line.text}`).sort()).toEqual([
      'web-0/app hi',
      'web-0/second hello',
    ]);
  });

  it('measures what each pod uses against what it requests', async () => {
    const container = 'resources: { requests: { cpu: 500m, memory: 64Mi } }';
    const busy = 'while :; do :; done';
    await using test = await startLaptop({ manifest: webManifest(busy, { container, replicas: 1 }) });
    await ready(test, 1);
    const read = (resource: 'cpu' | 'memory') =>
      test.laptop.readResource(test.scaledObject, { resource, container: undefined }, signal);

    const [first] = await read('cpu');
    // A process that has only just begun uses next to nothing.
    const memory = await eventually(async () =>
      (await read('memory')).find(({ used = 0 }) => used > 100_000),
    );
    const busyUse = await eventually(async () => (await read('cpu')).find(({ used = 0 }) => used > 0.05));

    expect(first).toMatchObject({ pod: 'web-0', used: undefined, requested: 0.5, ready: true });
    expect(memory?.requested).toBe(64 * 2 ** 20);
    expect(busyUse?.used).toBeLessThan(1.5);
  });

  it('makes the environment and the arguments as a cluster does', async () => {
    const objects = `---
apiVersion: v1
kind: Secret
metadata: { name: db }
stringData: { password: pass word, user: ada }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { COLOUR: red, odd.key: "1" }
`;
    const container = `args: ["$(GREETING)", "$$(GREETING)", "$(NOBODY)", "$(KEDA"]
envFrom:
  - { configMapRef: { name: settings } }
  - { prefix: DB_, secretRef: { name: db } }
  - { secretRef: { name: none, optional: true } }
env:
  - { name: FIRST, value: hello }
  - { name: GREETING, value: "$(FIRST) $(DB_user) $(LATER)" }
  - { name: LATER, value: later }
  - { name: PASSWORD, valueFrom: { secretKeyRef: { name: db, key: password } } }
  - { name: LEFT_OUT, valueFrom: { configMapKeyRef: { name: settings, key: none, optional: true } } }
  - { name: POD, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
  - { name: APP, valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } } }
  - { name: TEAM, valueFrom: { fieldRef: { fieldPath: "metadata.annotations['team']" } } }
  - { name: CPU, valueFrom: { resourceFieldRef: { resource: requests.cpu, divisor: 1m } } }
resources: { requests: { cpu: 250m } }`;
    const script = 'env > env; printf "%s|" "$0" "$@" > args; exec sleep 300';
    const manifest = webManifest(script, { container, replicas: 1 }) + objects;
    await using test = await startLaptop({ manifest, environment: { HOME: '/nowhere' } });

    const args = await eventually(() => test.read('args'));

    const env = (await test.read('env')).split('\n');
    expect(args).toBe('hello ada $(LATER)|$(GREETING)|$(NOBODY)|$(KEDA|');
    expect(env).toEqual(
      expect.arrayContaining([
        'HOME=/nowhere',
        'COLOUR=red',
        'DB_password=pass word',
        'PASSWORD=pass word',
        'POD=web-0',
        'HOSTNAME=web-0',
        'APP=web',
        'TEAM=shop',
        'CPU=250',
      ]),
    );
    expect(env.filter(line => line.startsWith('LEFT_OUT') || line.startsWith('_eventide'))).toEqual([]);
  });

  it('gives volumes as directories, by a variable and at their path where that is free', async () => {
    await using other = await startLaptop({ manifest: webManifest('true') });
    const at = other.folder;
    await mkdir(join(at, 'taken'));
    const pod = `terminationGracePeriodSeconds: 1
volumes:
  - { name: keys, secret: { secretName: db, defaultMode: 0400, items: [{ key: password, path: inner/pw }] } }
  - { name: all-settings, configMap: { name: settings } }
  - { name: scratch, emptyDir: {} }`;
    const container = `volumeMounts:
  - { name: keys, mountPath: ${at}/keys }
  - { name: all-settings, mountPath: ${at}/taken }
  - { name: scratch, mountPath: ${at}/scratch }`;
    const objects = `---
apiVersion: v1
kind: Secret
metadata: { name: db }
data: { password: /wD+, other: b3RoZXI= }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { colour: red }
`;
    const script = `ls -R "$EVENTIDE_MOUNT_KEYS" > listed; od -An -tx1 ${at}/keys/inner/pw > bytes
      ls -l ${at}/keys/inner/pw | cut -c1-10 > mode; cat "$EVENTIDE_MOUNT_ALL_SETTINGS/colour" > colour
      echo mine > ${at}/scratch/file; cat "$EVENTIDE_MOUNT_SCRATCH/file" > scratched; exec sleep 300`;
    const manifest = webManifest(script, { pod, container, replicas: 1 }) + objects;
    const test = await startLaptop({ manifest });

    await eventually(async () => (await test.read('scratched')) === 'mine');
    const seen = Object.fromEntries(
      await Promise.all(['bytes', 'mode', 'colour'].map(async name => [name, await test.read(name)])),
    );
    const linked = await readlink(join(at, 'keys'));
    await test.laptop[Symbol.asyncDispose]();

    expect(seen).toEqual({ bytes: 'ff 00 fe', mode: '-r--------', colour: 'red' });
    expect(linked.startsWith(test.folder)).toBe(true);
    expect((await lstat(join(at, 'taken'))).isDirectory()).toBe(true);
    expect((await readdir(at)).sort()).toEqual(['state', 'taken']);
    await test[Symbol.asyncDispose]();
  });

  it('ends what it started and nothing else, and leaves nothing behind', async () => {
    await using other = await startLaptop({ manifest: webManifest(sleeper, { replicas: 1 }) });
    const test = await startLaptop({ manifest: webManifest(sleeper, { replicas: 2 }) });
    await eventually(async () => (await pids(test)).size === 2 && (await pids(other)).size === 1);
    await writeFile(join(test.folder, 'state', 'api.json'), '{}');

    await test.laptop[Symbol.asyncDispose]();
    await test.laptop.removeState();

    for (const pid of (await pids(test)).values()) expect(await isAlive(pid)).toBe(false);
    for (const pid of (await pids(other)).values()) expect(await isAlive(pid)).toBe(true);
    expect(await readdir(join(test.folder, 'state'))).toEqual(['api.json']);
    await test[Symbol.asyncDispose]();
  });

  it('kills everything at once when it is told to wait for nothing', async () => {
    const script = `trap '' TERM; ${sleeper}`;
    const pod = 'terminationGracePeriodSeconds: 600';
    await using test = await startLaptop({ manifest: webManifest(script, { replicas: 2, pod }) });
    await eventually(async () => (await pids(test)).size === 2);

    test.laptop.kill();

    for (const pid of (await pids(test)).values()) await eventually(async () => !(await isAlive(pid)));
  });

  it('says that a target is not there', async () => {
    const manifest = webManifest(sleeper).replace(
      'scaleTargetRef: { name: web',
      'scaleTargetRef: { name: wbe',
    );
    await using test = await startLaptop({ manifest });

    const read = test.laptop.readTarget(test.scaledObject, signal);

    await expect(read).rejects.toMatchObject({
      code: 'TARGET_MISSING',
      message: 'Deployment "wbe" is not in the files that are run',
    });
  });
});
