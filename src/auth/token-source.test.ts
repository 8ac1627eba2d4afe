import { expect, it } from 'vitest';
import { faultFrom } from '../../test/scaler-contract.ts';
import { systemClock } from '../base/clock.ts';
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
