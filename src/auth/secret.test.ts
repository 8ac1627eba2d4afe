import { expect, it } from 'vitest';
import { references } from '../../test/references.ts';
import { Lookup } from './lookup.ts';
import { fromSecrets } from './secret.ts';

const signal = new AbortController().signal;

const objects = {
  secrets: { 'shop/db': { user: 'ann', password: 'p\nw', empty: '' }, 'eventide/db': { user: 'eve' } },
};

it('takes parameters from keys of Secrets, reading each Secret once', async () => {
  const refs = references(objects);
  const lookup = new Lookup({ references: refs, signal });

  const found = await fromSecrets(
    [
      { parameter: 'userName', name: 'db', key: 'user' },
      { parameter: 'password', name: 'db', key: 'password' },
      { parameter: 'nothing', name: 'db', key: 'empty' },
    ],
    'shop',
    lookup,
  );

  expect(Object.entries(found).map(([name, secret]) => [name, secret.reveal()])).toEqual([
    ['userName', 'ann'],
    ['password', 'p\nw'],
    ['nothing', ''],
  ]);
  expect(refs.reads).toEqual(['Secret shop/db']);
  expect(lookup.used).toEqual([{ kind: 'Secret', namespace: 'shop', name: 'db' }]);
});

it.each([
  ['gone', 'user', 'key "user" of Secret "gone" in namespace "shop", which does not exist'],
  ['db', 'pin', 'key "pin" of Secret "db" in namespace "shop", which has no such key'],
])('names Secret %s and key %s when they are not there', async (name, key, sentence) => {
  const lookup = new Lookup({ references: references(objects), signal });

  const work = fromSecrets([{ parameter: 'userName', name, key }], 'shop', lookup);

  await expect(work).rejects.toMatchObject({
    code: 'AUTH_MISSING',
    message: `parameter "userName" is ${sentence}`,
  });
  expect(lookup.used).toEqual([{ kind: 'Secret', namespace: 'shop', name }]);
});

it('reads from the cluster namespace alone where access to Secrets is restricted', async () => {
  const lookup = new Lookup({ references: references(objects), signal, restrictSecretAccess: true });

  const found = await fromSecrets([{ parameter: 'userName', name: 'db', key: 'user' }], 'shop', lookup);

  expect(found['userName']?.reveal()).toBe('eve');
  expect(lookup.used).toEqual([{ kind: 'Secret', namespace: 'eventide', name: 'db' }]);
});
