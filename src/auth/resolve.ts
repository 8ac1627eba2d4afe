import { Fault } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import { noIdentity, type PodIdentity } from '../spec/pod-identity.ts';
import type { TriggerAuthenticationSpec } from '../spec/trigger-authentication.ts';
import type { Trigger, Workload } from '../spec/workload.ts';
import { fromAwsSecretsManager } from './aws-secrets-manager.ts';
import { fromAzureKeyVault } from './azure-key-vault.ts';
import { fromConfigMaps } from './config-map.ts';
import { containerEnv, fromEnv, type PodEnvironment } from './env.ts';
import { fromFile } from './file.ts';
import { fromGoogleSecretManager } from './google-secret-manager.ts';
import { Lookup, type UsedObject } from './lookup.ts';
import { fromOAuth2 } from './oauth2.ts';
import type { References } from './references.ts';
import { fromSecrets } from './secret.ts';
import { fromServiceAccounts, requireWorkloadRole, workloadRole } from './service-account.ts';
import type { SecretStores, StoreAsk } from './stores.ts';
import { fromVault } from './vault.ts';

export interface AuthOptions {
  references: References;
  signal: AbortSignal;
  /** The folder below which `filePath` may name files; none unless given. */
  fileRoot?: string;
  /** Read Secrets from the cluster namespace only (KEDA_RESTRICT_SECRET_ACCESS). */
  restrictSecretAccess?: boolean;
  /** Asks secret stores and for tokens of service accounts; without it they count as missing. */
  stores?: SecretStores;
  /** The credentials found last were refused where they were used: what is kept of stores is looked up anew. */
  refused?: boolean;
  /** Given by those who need to know what was looked up also where it failed. */
  lookup?: Lookup;
}

/** Everything a trigger's parameters are looked up in, besides its metadata. */
export interface ResolvedAuth {
  /** From the TriggerAuthentication, by parameter. */
  auth: Record<string, Secret>;
  /** Given in the trigger as references to Secrets, by parameter. */
  inline: Record<string, Secret>;
  /** The environment of the target's container; empty where the trigger names no variable. */
  env: Record<string, string>;
  podIdentity: PodIdentity;
  /** What all this came from; when one of them changes it has to be resolved anew. */
  used: readonly UsedObject[];
  /** When it has to be resolved anew though none of them changed, in epoch milliseconds; Infinity for never. */
  renewAt: number;
}

/**
 * Finds the credentials of a trigger, in KEDA's order and namespaces: later sources overwrite the same parameter,
 * and a file replaces all others. Unlike KEDA, a TriggerAuthentication, Secret, ConfigMap or key that is named
 * and not there is a Fault instead of an empty text.
 *
 * @throws Fault AUTH_MISSING, AUTH_FAILED, NOT_SUPPORTED, MANIFEST_INVALID, or what the references throw
 */
export async function resolveAuth(
  trigger: Trigger,
  workload: Workload,
  options: AuthOptions,
): Promise<ResolvedAuth> {
  const lookup = options.lookup ?? new Lookup(options);
  let fetched: Promise<PodEnvironment> | undefined;
  const pod = () => (fetched ??= podEnvironment(workload, options, lookup));
  const inline = Object.entries(trigger.secrets).map(([parameter, { name, key }]) => ({
    parameter,
    name,
    key,
  }));
  const { auth, podIdentity } = await resolveReference(trigger, workload, { options, lookup, pod });
  return {
    auth,
    podIdentity,
    inline: await fromSecrets(inline, workload.namespace, lookup),
    env: namesVariable(trigger)
      ? await containerEnv(await pod(), workload.envSourceContainerName || undefined)
      : {},
    used: lookup.used,
    renewAt: lookup.renewAt,
  };
}

/** Only then is the environment looked at, so that a trigger without need of it does not fail by it. */
const namesVariable = (trigger: Trigger) =>
  Object.keys(trigger.metadata).some(name => name.endsWith('FromEnv'));

async function podEnvironment(
  workload: Workload,
  { references, signal }: AuthOptions,
  lookup: Lookup,
): Promise<PodEnvironment> {
  const { kind, namespace, name } = workload;
  // That of a ScaledJob is in itself.
  if (kind === 'ScaledObject') lookup.note({ kind: 'Target', namespace, name });
  const template = await references.podTemplate(workload, signal);
  return { template, namespace, lookup };
}

interface Means {
  options: AuthOptions;
  lookup: Lookup;
  /** Fetched by the first who needs it. */
  pod(): Promise<PodEnvironment>;
}

async function resolveReference(
  { authenticationRef }: Trigger,
  workload: Workload,
  { options, lookup, pod }: Means,
): Promise<Pick<ResolvedAuth, 'auth' | 'podIdentity'>> {
  if (authenticationRef === undefined) return { auth: {}, podIdentity: noIdentity };
  const { name, kind } = authenticationRef;
  const { references, signal } = options;
  const cluster = kind === 'ClusterTriggerAuthentication';
  lookup.note({ kind, namespace: cluster ? '' : workload.namespace, name });
  const spec = await references.triggerAuthentication(cluster ? undefined : workload.namespace, name, signal);
  if (spec === undefined) {
    const where = cluster ? '' : ` in namespace "${workload.namespace}"`;
    throw new Fault('AUTH_MISSING', `there is no ${kind} "${name}"${where}`);
  }
  const podIdentity = spec.podIdentity ?? noIdentity;
  const found = { spec, name, kind, namespace: cluster ? references.clusterNamespace : workload.namespace };
  const fromIdentity = await identityParameters(podIdentity, found, { workload, lookup, pod });
  if (spec.filePath !== undefined && spec.filePath !== '') {
    if (!cluster) {
      const problem = `filePath of TriggerAuthentication "${name}" is for ClusterTriggerAuthentications only`;
      throw new Fault('MANIFEST_INVALID', problem);
    }
    // Nobody tells of a new file, so it is read for each reading.
    lookup.renewBy(0);
    return { podIdentity, auth: { ...(await fromFile(options.fileRoot, spec.filePath)), ...fromIdentity } };
  }
  const auth = {
    ...(spec.env === undefined ? {} : await fromEnv(spec.env, await pod())),
    ...(await fromConfigMaps(spec.configMapTargetRef ?? [], found.namespace, lookup)),
    ...(await fromSecrets(spec.secretTargetRef ?? [], found.namespace, lookup)),
    ...(await fromStores(found, workload, { options, lookup, pod })),
    ...(spec.oauth2 === undefined ? {} : await fromOAuth2(spec.oauth2, found.namespace, lookup)),
    ...fromIdentity,
  };
  return { auth, podIdentity };
}

/** A TriggerAuthentication or ClusterTriggerAuthentication, and where its Secrets are. */
interface Found {
  spec: TriggerAuthenticationSpec;
  kind: 'TriggerAuthentication' | 'ClusterTriggerAuthentication';
  name: string;
  namespace: string;
}

const storeFields = [
  'hashiCorpVault',
  'azureKeyVault',
  'gcpSecretManager',
  'awsSecretManager',
  'boundServiceAccountToken',
] as const;

async function fromStores(
  { spec, kind, name, namespace }: Found,
  workload: Workload,
  { options, lookup, pod }: Means,
): Promise<Record<string, Secret>> {
  const asked = storeFields.find(field => spec[field] !== undefined);
  if (asked === undefined) return {};
  const { stores, references, signal } = options;
  const of = `${kind} "${name}"`;
  if (stores === undefined) throw new Fault('AUTH_MISSING', `what ${asked} of ${of} holds is not known`);
  const ask: StoreAsk = {
    stores,
    references,
    lookup,
    signal,
    of,
    clusterWide: kind === 'ClusterTriggerAuthentication',
    namespace,
    workloadNamespace: workload.namespace,
    doubt: options.refused === true,
  };
  const template = async () => (await pod()).template;
  const { hashiCorpVault, azureKeyVault, gcpSecretManager, awsSecretManager } = spec;
  return {
    ...(hashiCorpVault === undefined ? {} : await fromVault(hashiCorpVault, ask)),
    ...(azureKeyVault === undefined ? {} : await fromAzureKeyVault(azureKeyVault, ask)),
    ...(gcpSecretManager === undefined ? {} : await fromGoogleSecretManager(gcpSecretManager, ask)),
    ...(awsSecretManager === undefined ? {} : await fromAwsSecretsManager(awsSecretManager, ask, template)),
    ...(await fromServiceAccounts(spec.boundServiceAccountToken ?? [], ask)),
  };
}

/** What an identity adds to the parameters, after checking what KEDA checks. */
async function identityParameters(
  { provider, identityId, roleArn, identityOwner }: PodIdentity,
  { kind, name }: Found,
  { workload, lookup, pod }: { workload: Workload } & Pick<Means, 'lookup' | 'pod'>,
): Promise<Record<string, Secret>> {
  const invalid = (problem: string) =>
    new Fault('MANIFEST_INVALID', `podIdentity of ${kind} "${name}" ${problem}`);
  if (provider === 'azure-workload' && identityId === '') throw invalid('has an empty identityId');
  if (provider === 'aws-eks') {
    const role = await workloadRole((await pod()).template, workload.namespace, lookup);
    return role === undefined ? {} : { awsRoleArn: new Secret(role) };
  }
  if (provider !== 'aws') return {};
  if (identityOwner !== 'workload') return roleArn ? { awsRoleArn: new Secret(roleArn) } : {};
  if (roleArn) throw invalid('has both a roleArn and the workload as identityOwner');
  const role = await requireWorkloadRole((await pod()).template, workload.namespace, lookup);
  return { awsRoleArn: new Secret(role) };
}
