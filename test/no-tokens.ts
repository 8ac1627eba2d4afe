import { Fault } from '../src/base/errors.ts';
import type { TokenSource } from '../src/scaler/context.ts';

const none = () => Promise.reject(new Fault('NOT_SUPPORTED', 'there is no identity here'));

/** A world without identities; what a test has of one it spreads over this. */
export const noTokens: TokenSource = {
  accessToken: none,
  googleToken: none,
  awsCredentials: none,
  refused() {},
};
