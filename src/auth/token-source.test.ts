import { expect, it } from 'vitest';
import { httpServer } from '../../test/misbehaving-http.ts';
import { faultFrom } from '../../test/scaler-contract.ts';
import { manualClock, systemClock } from '../base/clock.ts';
import type { TokenSource } from '../scaler/context.ts';
import { tokenSource } from './token-source.ts';

const signal = new AbortController().signal;

it.each([
  ['azure-workload', 'there is no Azure workload identity here'],
  ['aws', 'pod identity aws has no access tokens here'],
  ['none', 'pod identity none has no access tokens here'],
] as const)('says that there is none for %s where nothing is configured', async (provider, sentence) => {
  await using tokens = tokenSource({
    clock: systemClock,
    http: {},
    azure: {},
    aws: { metadataDisabled: true },
    google: {},
  });
  const source: TokenSource = tokens;

  const fault = await faultFrom(source.accessToken({ provider }, 'scope', signal));

  expect(fault).toMatchObject({ code: 'NOT_SUPPORTED', message: expect.stringContaining(sentence) });
});

it.each([
  [
    'azure-workload',
    (tokens: TokenSource) => tokens.accessToken({ provider: 'azure-workload' }, 's', signal),
  ],
  ['gcp', (tokens: TokenSource) => tokens.accessToken({ provider: 'gcp' }, 's', signal)],
  ['aws', (tokens: TokenSource) => tokens.awsCredentials({}, signal)],
] as const)('gives another one for %s once what it gave was refused', async (_provider, ask) => {
  const clock = manualClock();
  let answers = 0;
  await using server = await httpServer((_req, res) => {
    answers += 1;
    const keys = { AccessKeyId: `${answers}`, SecretAccessKey: 'x', Expiration: '2100-01-01T00:00:00Z' };
    res.end(JSON.stringify({ ...keys, access_token: `${answers}`, expires_in: 3600 }));
  });
  await using tokens = tokenSource({
    clock,
    http: {},
    azure: { clientId: 'c', tenantId: 't', federatedTokenFile: '/dev/null', authorityHost: server.url },
    aws: { containerUri: server.url },
    google: { metadataHost: new URL(server.url).host },
  });

  const first = await ask(tokens);
  await clock.advance(10_000);
  const same = await ask(tokens);
  tokens.refused(first);
  const others = await Promise.all([ask(tokens), ask(tokens)]);

  expect(same).toBe(first);
  expect(others[0]).not.toBe(first);
  expect(others[1]).toBe(others[0]);
  expect(answers).toBe(2);
});
