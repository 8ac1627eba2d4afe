import { awsServiceUrl } from '../../base/aws-region.ts';
import type { AwsCredentials } from '../../base/sigv4.ts';
import type { PodIdentity } from '../../spec/pod-identity.ts';
import type { Problem } from '../../spec/problem.ts';
import type { AwsRole } from '../context.ts';
import { p, type ValuesOf } from '../params.ts';

/** Where in AWS something is and who asks: the parameters of every type that reads a service of AWS. */
export const awsParams = {
  awsRegion: p.text({ doc: 'Region, such as `eu-west-1`.', from: ['metadata', 'auth'] }),
  awsEndpoint: p.text({ doc: "URL to ask instead of the region's own.", optional: true }),
  identityOwner: p.choice(['pod', 'operator'], {
    doc: "`operator` for the operator's own identity in AWS.",
    optional: true,
  }),
  awsAccessKeyID: p.text({
    doc: 'Access key; needed without a pod identity or a role.',
    also: ['awsAccessKeyId'],
    from: ['auth', 'metadata', 'env'],
    optional: true,
  }),
  awsSecretAccessKey: p.secret({
    doc: 'The secret of the access key.',
    from: ['auth', 'env'],
    optional: true,
  }),
  awsSessionToken: p.secret({ doc: 'Session token of temporary keys.', from: ['auth'], optional: true }),
  awsRoleArn: p.text({ doc: 'Role to assume.', from: ['auth'], optional: true }),
};

/** A service of AWS, and who asks it: somebody with keys, a role, or the operator itself. */
export interface AwsAccess {
  region: string;
  /** Such as `https://sqs.eu-west-1.amazonaws.com`, without a slash at its end. */
  url: string;
  /** As AWS signs it, such as `sqs` or `monitoring`. */
  service: string;
  who: AwsCredentials | AwsRole;
}

const keysOrIdentity =
  'give keys in a TriggerAuthentication, or use a pod identity or identityOwner: operator';

export type AwsValues = ValuesOf<typeof awsParams>;

/** Checks what KEDA checks, in its order. */
export function awsAccess(
  service: string,
  values: AwsValues,
  podIdentity: PodIdentity,
): AwsAccess | { problems: Problem[] } {
  const { awsRegion: region, awsEndpoint } = values;
  const url = endpointOf(service, region, awsEndpoint);
  const who = awsCaller(values, podIdentity, keysOrIdentity);
  const problems = [url, who].filter(part => typeof part === 'object' && 'problem' in part);
  if (typeof url !== 'string' || 'problem' in who) return { problems };
  return { region, url, service, who };
}

/** For a connection's identity: free of secrets. */
export function awsIdentity({ region, url, who }: AwsAccess): string {
  return JSON.stringify([url, region, ...awsCallerIdentity(who)]);
}

function endpointOf(service: string, region: string, endpoint: string | undefined): string | Problem {
  if (endpoint === undefined) {
    return (
      awsServiceUrl(service, region) ?? {
        problem: `"${region}" is not a region of AWS`,
        mending: 'write one such as eu-west-1',
        place: { field: 'metadata.awsRegion' },
      }
    );
  }
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    return {
      problem: `"${endpoint}" is not an http or https URL`,
      place: { field: 'metadata.awsEndpoint' },
    };
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '');
}

/** What says who asks. */
type CallerValues = Omit<AwsValues, 'awsRegion' | 'awsEndpoint'> & { awsRegion?: string | undefined };

/**
 * Who asks, in KEDA's order.
 *
 * @param mending what to do where keys are missing
 */
export function awsCaller(
  values: CallerValues,
  identity: PodIdentity,
  mending: string,
): AwsCredentials | AwsRole | Problem {
  const { awsAccessKeyID, awsSecretAccessKey, awsSessionToken, awsRoleArn, awsRegion, identityOwner } =
    values;
  const there = awsRegion === undefined ? {} : { region: awsRegion };
  if (identity.provider === 'aws') {
    const { roleArn = awsRoleArn, externalID } = identity;
    if (roleArn === undefined) return there;
    const external = externalID === undefined ? {} : { externalId: externalID };
    return { ...there, roleArn, webIdentity: true, ...external };
  }
  if (identityOwner === 'operator') return there;
  if (awsRoleArn !== undefined) return { ...there, roleArn: awsRoleArn };
  const missing = (name: string): Problem => ({
    problem: `"${name}" is missing`,
    mending,
    place: { field: `metadata.${name}` },
  });
  if (awsAccessKeyID === undefined) return missing('awsAccessKeyID');
  if (awsSecretAccessKey === undefined) return missing('awsSecretAccessKey');
  return {
    accessKeyId: awsAccessKeyID,
    secretAccessKey: awsSecretAccessKey,
    ...(awsSessionToken === undefined ? {} : { sessionToken: awsSessionToken }),
  };
}

/** What tells who asks from everybody else, free of secrets; to become part of a connection's identity. */
export function awsCallerIdentity(who: AwsCredentials | AwsRole): unknown[] {
  if (!('accessKeyId' in who)) return [who];
  const { accessKeyId, secretAccessKey, sessionToken } = who;
  return [accessKeyId, secretAccessKey.fingerprint(), sessionToken?.fingerprint()];
}
