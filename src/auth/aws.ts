import type { Clock } from '../base/clock.ts';
import { deadline } from '../base/deadline.ts';
import { Fault, faultOf } from '../base/errors.ts';
import type { HttpClient } from '../base/http.ts';
import { Keeper, type Lent } from '../base/keeper.ts';
import type { AwsCredentials } from '../base/sigv4.ts';
import { type AwsOptions, ownCredentials } from './aws-own.ts';
import { assumeByWebIdentity, assumeRole } from './aws-sts.ts';
import { readAssertion } from './entra.ts';

/** Who to be at AWS; what the scaler layer calls an AwsRole. */
export interface AwsIdentity {
  roleArn?: string;
  externalId?: string;
  region?: string;
  webIdentity?: boolean;
}

/** Keys of AWS, each kept until they are nearly over. */
export interface Aws extends Disposable {
  /** @throws Fault AUTH_FAILED, NOT_SUPPORTED, MANIFEST_INVALID or the reason of an aborted signal */
  credentials(identity: AwsIdentity, signal: AbortSignal): Promise<AwsCredentials>;
  /** It was not accepted where it was used: who asks next waits for a new one. */
  refused(given: AwsCredentials): void;
}

/** How long a role is tried by our service account before our own role is asked to assume it. */
const webIdentityWithinMs = 5_000;

/**
 * The operator's own identity, and roles that trust it. As in KEDA a role is assumed by the operator's service account
 * where it trusts that, and by the operator's own role otherwise; an external id is for the latter only.
 */
export function aws(
  options: AwsOptions,
  { clock, http, direct }: { clock: Clock; http: HttpClient; direct: HttpClient },
): Aws {
  const keeper = new Keeper<AwsCredentials>(clock);

  async function own(signal: AbortSignal): Promise<AwsCredentials> {
    const fetch = (stop: AbortSignal) => ownCredentials(options, { http, direct, clock, signal: stop });
    return (await keeper.get('own', { fetch, host: 'AWS', signal })).value;
  }

  async function assume(
    identity: AwsIdentity & { roleArn: string },
    signal: AbortSignal,
  ): Promise<Lent<AwsCredentials>> {
    const { roleArn, externalId, region, webIdentity } = identity;
    const means = { http, clock, place: options, region };
    const file = options.webIdentityTokenFile;
    if (!webIdentity || !file) {
      return await assumeRole({ roleArn, externalId, by: await own(signal) }, { ...means, signal });
    }
    let why: Fault;
    try {
      using limit = deadline(signal, webIdentityWithinMs);
      const token = await readAssertion(file, 'the web identity token');
      return await assumeByWebIdentity({ roleArn, token }, { ...means, signal: limit.signal });
    } catch (thrown) {
      signal.throwIfAborted();
      why = faultOf(thrown);
      if (why.code === 'MANIFEST_INVALID') throw why;
    }
    // Which way the role's owner chose is seen only by trying.
    try {
      return await assumeRole({ roleArn, externalId, by: await own(signal) }, { ...means, signal });
    } catch (thrown) {
      const { message, retryAfterMs = why.retryAfterMs } = faultOf(thrown);
      const sentence = `by our service account: ${why.message}; by our own role: ${message}`;
      throw new Fault('AUTH_FAILED', sentence, retryAfterMs === undefined ? {} : { retryAfterMs });
    }
  }

  return {
    async credentials(identity, signal) {
      const { roleArn, externalId, region, webIdentity } = identity;
      if (!roleArn) return await own(signal);
      const key = JSON.stringify([roleArn, externalId, region, webIdentity === true]);
      const fetch = (stop: AbortSignal) => assume({ ...identity, roleArn }, stop);
      return (await keeper.get(key, { fetch, host: 'AWS', signal })).value;
    },
    refused: given => keeper.refused(given),
    [Symbol.dispose]: () => keeper[Symbol.dispose](),
  };
}
