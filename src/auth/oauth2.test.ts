import { expect, it } from 'vitest';
import { references } from '../../test/references.ts';
import { Lookup } from './lookup.ts';
import { fromOAuth2, type OAuth2 } from './oauth2.ts';

const lookup = () =>
  new Lookup({
    references: references({ secrets: { 'shop/app': { secret: 's3cret' } } }),
    signal: new AbortController().signal,
  });

async function parametersOf(oauth2: OAuth2): Promise<Record<string, string>> {
  const found = await fromOAuth2(oauth2, 'shop', lookup());
  return Object.fromEntries(Object.entries(found).map(([name, secret]) => [name, secret.reveal()]));
}

it('gives the parameters that HTTP scalers sign in with', async () => {
  const parameters = await parametersOf({
    clientId: 'us',
    tokenUrl: 'https://id.test/token',
    clientSecret: { valueFrom: { secretKeyRef: { name: 'app', key: 'secret' } } },
    scopes: ['read', 'write'],
    tokenUrlParams: { resource: 'a b&c', audience: 'x' },
  });

  expect(parameters).toEqual({
    oauthTokenURI: 'https://id.test/token',
    clientID: 'us',
    clientSecret: 's3cret',
    scopes: 'read,write',
    endpointParams: 'audience=x&resource=a+b%26c',
  });
});

it('leaves out what is not given', async () => {
  const parameters = await parametersOf({ clientId: 'us', tokenUrl: 'https://id.test/token' });

  expect(parameters).toEqual({ oauthTokenURI: 'https://id.test/token', clientID: 'us' });
});

it('names a client secret that is not there', async () => {
  const secretKeyRef = { name: 'gone', key: 'secret' };

  const work = parametersOf({ clientId: 'us', tokenUrl: 'x', clientSecret: { valueFrom: { secretKeyRef } } });

  await expect(work).rejects.toMatchObject({
    code: 'AUTH_MISSING',
    message: expect.stringContaining('"clientSecret" is key "secret" of Secret "gone"'),
  });
});
