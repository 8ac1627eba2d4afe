import { expect, it } from 'vitest';
import { references } from '../../test/references.ts';
import { fromConfigMaps } from './config-map.ts';
import { Lookup } from './lookup.ts';

const signal = new AbortController().signal;
const objects = { configMaps: { 'shop/settings': { host: 'mail.test' } } };

it('takes parameters from keys of ConfigMaps', async () => {
  const lookup = new Lookup({ references: references(objects), signal });

  const found = await fromConfigMaps(
    [{ parameter: 'server', name: 'settings', key: 'host' }],
    'shop',
    lookup,
  );

  expect(found['server']?.reveal()).toBe('mail.test');
  expect(lookup.used).toEqual([{ kind: 'ConfigMap', namespace: 'shop', name: 'settings' }]);
});

it.each([
  ['gone', 'host', 'ConfigMap "gone" in namespace "shop", which does not exist'],
  ['settings', 'port', 'ConfigMap "settings" in namespace "shop", which has no such key'],
])('names ConfigMap %s and key %s when they are not there', async (name, key, sentence) => {
  const lookup = new Lookup({ references: references(objects), signal });

  const work = fromConfigMaps([{ parameter: 'server', name, key }], 'shop', lookup);

  await expect(work).rejects.toMatchObject({
    code: 'AUTH_MISSING',
    message: expect.stringContaining(sentence),
  });
});
