import { describe, expect, it } from 'vitest';
import { references } from '../../test/references.ts';
import { Fault } from '../base/errors.ts';
import { containerEnv, fromEnv, type PodEnvironment } from './env.ts';
import { Lookup } from './lookup.ts';

const signal = new AbortController().signal;
const refs = () =>
  references({
    secrets: { 'shop/db': { USER: 'ann', PASSWORD: 'a$(X)b' } },
    configMaps: { 'shop/settings': { HOST: 'mail.test', PORT: '25' } },
  });

function podOf(containers: unknown, restrictSecretAccess = false): PodEnvironment {
  const lookup = new Lookup({ references: refs(), signal, restrictSecretAccess });
  return { template: { spec: { containers } }, namespace: 'shop', lookup };
}

const pod = (container: object, restrict = false) => podOf([{ name: 'main', ...container }], restrict);

describe('the environment of a container', () => {
  it('has envFrom first, with prefixes, and env in order over it', async () => {
    const env = await containerEnv(
      pod({
        envFrom: [
          { configMapRef: { name: 'settings' } },
          { prefix: 'DB_', secretRef: { name: 'db' } },
          { secretRef: { name: 'gone', optional: true } },
          { configMapRef: { name: 'gone', optional: true } },
        ],
        env: [
          { name: 'PORT', value: '587' },
          { name: 'URL', value: 'smtp://$(DB_USER)@$(HOST):$(PORT)' },
          { name: 'EMPTY' },
        ],
      }),
    );

    expect(env).toEqual({
      HOST: 'mail.test',
      PORT: '587',
      DB_USER: 'ann',
      DB_PASSWORD: 'a$(X)b',
      URL: 'smtp://ann@mail.test:587',
      EMPTY: '',
    });
  });

  it('takes keys of Secrets and ConfigMaps, and leaves out what only a pod knows', async () => {
    const ref = (kind: string, name: string, key: string, optional?: boolean) => ({
      valueFrom: { [kind]: { name, key, ...(optional === undefined ? {} : { optional }) } },
    });

    const env = await containerEnv(
      pod({
        env: [
          { name: 'USER', ...ref('secretKeyRef', 'db', 'USER') },
          { name: 'HOST', ...ref('configMapKeyRef', 'settings', 'HOST') },
          { name: 'NO_KEY', ...ref('secretKeyRef', 'db', 'PIN') },
          { name: 'NO_SECRET', ...ref('secretKeyRef', 'gone', 'PIN', true) },
          { name: 'NO_MAP', ...ref('configMapKeyRef', 'gone', 'PIN', true) },
          { name: 'POD_IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
        ],
      }),
    );

    expect(env).toEqual({ USER: 'ann', HOST: 'mail.test', NO_KEY: '' });
  });

  it.each([
    ['plain', 'plain'],
    ['$(A)', 'one'],
    ['x$(A)y$(B)z', 'xoney$(A)z'],
    ['$$(A)', '$(A)'],
    ['$$$(A)', '$one'],
    ['cost: 5$', 'cost: 5$'],
    ['5$$', '5$'],
    ['$A {B} $(', '$A {B} $('],
    ['$(UNKNOWN)', '$(UNKNOWN)'],
    ['$(LATER)', '$(LATER)'],
    ['$(toString)', '$(toString)'],
  ])('expands %j to %j', async (value, expected) => {
    const env = await containerEnv(
      pod({
        env: [
          { name: 'A', value: 'one' },
          { name: 'B', value: '$$(A)' },
          { name: 'IT', value },
          { name: 'LATER', value: 'late' },
        ],
      }),
    );

    expect(env['IT']).toBe(expected);
  });

  it('is that of the named container, else of the first', async () => {
    const both = podOf([
      { name: 'one', env: [{ name: 'WHO', value: 'one' }] },
      { name: 'two', env: [{ name: 'WHO', value: 'two' }] },
    ]);

    expect(await containerEnv(both)).toEqual({ WHO: 'one' });
    expect(await containerEnv(both, 'two')).toEqual({ WHO: 'two' });
    await expect(containerEnv(both, 'three')).rejects.toMatchObject({
      code: 'AUTH_MISSING',
      message: expect.stringContaining('"three"'),
    });
  });

  it.each([
    undefined,
    null,
    {},
    { spec: {} },
    { spec: { containers: 'many' } },
    { spec: { containers: [] } },
  ])('is empty where the pod template is %j', async template => {
    expect(await containerEnv({ ...pod({}), template })).toEqual({});
  });

  it.each([
    [{ envFrom: [{ secretRef: { name: 'gone' } }] }, 'Secret "gone"'],
    [{ envFrom: [{ configMapRef: { name: 'gone' } }] }, 'ConfigMap "gone"'],
    [
      { env: [{ name: 'A', valueFrom: { secretKeyRef: { name: 'gone', key: 'x' } } }] },
      'A needs Secret "gone"',
    ],
    [
      { env: [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'gone', key: 'x' } } }] },
      'A needs ConfigMap',
    ],
  ])('names what is missing for %j', async (container, sentence) => {
    await expect(containerEnv(pod(container))).rejects.toMatchObject({
      code: 'AUTH_MISSING',
      message: expect.stringContaining(sentence),
    });
  });

  it('leaves out Secrets of other namespaces where access to them is restricted', async () => {
    const env = await containerEnv(
      pod(
        {
          envFrom: [{ secretRef: { name: 'db' } }, { configMapRef: { name: 'settings' } }],
          env: [{ name: 'A', valueFrom: { secretKeyRef: { name: 'db', key: 'USER' } } }],
        },
        true,
      ),
    );

    expect(env).toEqual({ HOST: 'mail.test', PORT: '25' });
  });
});

describe('parameters from the environment', () => {
  it('are empty where the variable, the container or what it needs is not there', async () => {
    const both = podOf([
      { name: 'one', env: [{ name: 'USER', value: 'ann' }] },
      { name: 'two', envFrom: [{ secretRef: { name: 'gone' } }], env: [{ name: 'USER', value: 'bob' }] },
    ]);

    const found = await fromEnv(
      [
        { parameter: 'there', name: 'USER' },
        { parameter: 'unset', name: 'toString' },
        { parameter: 'broken', name: 'USER', containerName: 'two' },
        { parameter: 'nowhere', name: 'USER', containerName: 'three' },
      ],
      both,
    );

    expect(Object.entries(found).map(([name, secret]) => [name, secret.reveal()])).toEqual([
      ['there', 'ann'],
      ['unset', ''],
      ['broken', ''],
      ['nowhere', ''],
    ]);
  });

  it('are unknown, not empty, where the cluster cannot be asked', async () => {
    const failing = {
      ...refs(),
      secret: () => Promise.reject(new Fault('WORLD_FAILED', 'the API server is away')),
    };
    const lookup = new Lookup({ references: failing, signal });
    const template = { spec: { containers: [{ envFrom: [{ secretRef: { name: 'db' } }] }] } };

    const work = fromEnv([{ parameter: 'a', name: 'A' }], { template, namespace: 'shop', lookup });

    await expect(work).rejects.toMatchObject({ code: 'WORLD_FAILED' });
  });
});
