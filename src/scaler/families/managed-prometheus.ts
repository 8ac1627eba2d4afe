import { Fault } from '../../base/errors.ts';
import { awsKeysAreOver } from '../../base/grant.ts';
import { Secret } from '../../base/secret.ts';
import { type AwsCredentials, signedHeaders } from '../../base/sigv4.ts';
import type { PodIdentity } from '../../spec/pod-identity.ts';
import type { Problem } from '../../spec/problem.ts';
import type { AwsRole, OpenContext } from '../context.ts';
import { p, type ValuesOf } from '../params.ts';
import { awsCaller, awsCallerIdentity, awsParams } from './aws-access.ts';
import { isPrivateCloud } from './azure-cloud.ts';
import { type RequestProof, tokenProof } from './http.ts';

/** What says who asks a Prometheus that Amazon, Azure or Google runs, beside the pod identity. */
export const managedParams = {
  awsRegion: p.text({
    doc: "Region of Amazon's managed Prometheus; read from its address unless given.",
    from: ['metadata', 'auth'],
    optional: true,
  }),
  awsAccessKeyID: awsParams.awsAccessKeyID,
  awsSecretAccessKey: awsParams.awsSecretAccessKey,
  awsSessionToken: awsParams.awsSessionToken,
  awsRoleArn: awsParams.awsRoleArn,
  identityOwner: awsParams.identityOwner,
  GoogleApplicationCredentials: p.secret({
    doc: "Key file of a service account, as JSON, for Google's managed Prometheus.",
    from: ['auth'],
    optional: true,
  }),
  credentials: p.secret({
    doc: 'The same, in a variable of the target that `credentialsFromEnv` names.',
    from: ['env'],
    optional: true,
  }),
  credentialsFromEnvFile: p.text({
    doc: 'Accepted, and an error when it is read: it names a file of the operator.',
    optional: true,
  }),
  cloud: p.text({
    doc: "Which of Azure's clouds, for its managed Prometheus: AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud or Private.",
    optional: true,
  }),
  azureManagedPrometheusResourceURL: p.text({
    doc: 'What a token is for, such as https://prometheus.monitor.private.cloud/.default (cloud Private).',
    optional: true,
  }),
};

type ManagedValues = ValuesOf<typeof managedParams>;

/** Who asks, where each request has to prove it anew. */
export type ManagedAccess =
  | { by: 'azure'; scope: string }
  /** Who has this key file, or the pod identity. */
  | { by: 'google'; keyFile: Secret | undefined }
  | { by: 'aws'; region: string; who: AwsCredentials | AwsRole }
  | { by: 'file' };

const azureScopes: Readonly<Record<string, string>> = {
  AZURECLOUD: 'https://prometheus.monitor.azure.com/.default',
  AZUREPUBLICCLOUD: 'https://prometheus.monitor.azure.com/.default',
  AZUREUSGOVERNMENT: 'https://prometheus.monitor.azure.us/.default',
  AZUREUSGOVERNMENTCLOUD: 'https://prometheus.monitor.azure.us/.default',
  AZURECHINACLOUD: 'https://prometheus.monitor.azure.cn/.default',
};
const googleScope = 'https://www.googleapis.com/auth/monitoring.read';

/**
 * Who asks, as KEDA finds it where no authModes are given: by the pod identity; without one by a role or keys of AWS,
 * then by a key file of Google. Undefined for nobody in particular: a region alone signs nothing.
 */
export function managedAccess(
  values: ManagedValues,
  server: URL,
  podIdentity: PodIdentity,
): ManagedAccess | undefined | { problems: Problem[] } {
  const { provider } = podIdentity;
  if (provider === 'azure-workload') return azureAccess(values, server);
  if (provider === 'gcp') return { by: 'google', keyFile: undefined };
  const { identityOwner, awsRoleArn, awsAccessKeyID, awsSecretAccessKey } = values;
  const given = [awsRoleArn, awsAccessKeyID, awsSecretAccessKey].some(each => each !== undefined);
  if (provider === 'aws' || identityOwner === 'operator' || given)
    return awsAccess(values, server, podIdentity);
  const keyFile = values.GoogleApplicationCredentials ?? values.credentials;
  if (keyFile !== undefined) return { by: 'google', keyFile };
  return values.credentialsFromEnvFile === undefined ? undefined : { by: 'file' };
}

function azureAccess(
  { cloud, azureManagedPrometheusResourceURL: resource }: ManagedValues,
  server: URL,
): ManagedAccess | { problems: Problem[] } {
  const problem = (name: string, text: string, mending: string) => ({
    problems: [{ problem: text, mending, place: { field: `metadata.${name}` } }],
  });
  if (!isPrivateCloud(cloud)) {
    const scope = azureScopes[(cloud ?? 'AzurePublicCloud').toUpperCase()];
    if (scope !== undefined) return { by: 'azure', scope };
    const mending = 'use AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud or Private';
    return problem('cloud', `"${cloud}" is not a cloud of Azure with a managed Prometheus`, mending);
  }
  const name = 'azureManagedPrometheusResourceURL';
  if (resource === undefined) return problem(name, `"${name}" is missing`, 'cloud Private needs it');
  // The manifest chooses what the token is for: it must be worth nothing but there.
  const home = URL.canParse(resource) ? new URL(resource).hostname : '';
  if (home !== '' && (server.hostname === home || server.hostname.endsWith(`.${home}`))) {
    return { by: 'azure', scope: resource };
  }
  const mending = 'a token is sent only to the host that it is for, and to those below it';
  return problem(name, `serverAddress is not at "${resource}"`, mending);
}

function awsAccess(
  values: ManagedValues,
  { hostname }: URL,
  podIdentity: PodIdentity,
): ManagedAccess | { problems: Problem[] } {
  const region = values.awsRegion ?? /^aps-workspaces\.([a-z0-9-]+)\.amazonaws\.com/.exec(hostname)?.[1];
  const who = awsCaller(
    { ...values, awsRegion: region },
    podIdentity,
    'give it in the TriggerAuthentication',
  );
  if ('problem' in who) return { problems: [who] };
  if (region !== undefined) return { by: 'aws', region, who };
  const mending = 'requests are signed for a region, and the address names none';
  return {
    problems: [{ problem: '"awsRegion" is missing', mending, place: { field: 'metadata.awsRegion' } }],
  };
}

/** For a connection's identity: free of secrets. */
export function managedIdentity(access: ManagedAccess | undefined): string {
  switch (access?.by) {
    case 'azure':
      return access.scope;
    case 'google':
      return `google ${access.keyFile?.fingerprint() ?? ''}`;
    case 'aws':
      return JSON.stringify([access.region, ...awsCallerIdentity(access.who)]);
    default:
      return access?.by ?? '';
  }
}

/** @throws Fault NOT_SUPPORTED for a key file that is named instead of given */
export function managedProof(
  access: ManagedAccess,
  { identity, tokens }: Pick<OpenContext, 'identity' | 'tokens'>,
): RequestProof {
  switch (access.by) {
    case 'azure':
      return tokenProof(tokens, signal => tokens.accessToken(identity, access.scope, signal));
    case 'google': {
      const { keyFile } = access;
      return tokenProof(tokens, signal =>
        keyFile === undefined
          ? tokens.accessToken(identity, googleScope, signal)
          : tokens.googleToken(keyFile, googleScope, signal),
      );
    }
    case 'aws':
      return awsProof(access, tokens);
    case 'file': {
      const mending = 'give it as GoogleApplicationCredentials or by credentialsFromEnv';
      throw new Fault('NOT_SUPPORTED', `credentialsFromEnvFile names a file of the operator: ${mending}`);
    }
  }
}

function awsProof(
  { region, who }: { region: string; who: AwsCredentials | AwsRole },
  tokens: OpenContext['tokens'],
): RequestProof {
  return {
    async prove(request, { now, signal }) {
      const isLent = !('accessKeyId' in who);
      const credentials = isLent ? await tokens.awsCredentials(who, signal) : who;
      const headers = signedHeaders(request, { credentials, region, service: 'aps', now });
      const signature = new Secret(headers['authorization']?.split('Signature=')[1] ?? '');
      const { secretAccessKey, sessionToken = signature } = credentials;
      return {
        headers,
        secrets: [secretAccessKey, sessionToken, signature],
        refused(answer) {
          if (!isLent || !awsKeysAreOver(answer)) return false;
          tokens.refused(credentials);
          return true;
        },
      };
    },
  };
}
