import type { ManifestDocument } from './documents.ts';
import { parseObject } from './object-meta.ts';
import { type FieldOptions, type Infer, s } from './schema.ts';
import type { Parsed } from './workload.ts';

const required = s.text({ required: true });
const optional = s.text({});
const parameter = s.text({ required: true, doc: 'The trigger parameter that gets the value.' });

/** `valueFrom.secretKeyRef`: one key of a Secret. */
const secretValue = <const O extends FieldOptions>(options: O) =>
  s.object(
    {
      valueFrom: s.object(
        { secretKeyRef: s.object({ name: required, key: required }, { required: true }) },
        { required: true },
      ),
    },
    options,
  );

const podIdentity = s.object(
  {
    provider: s.choice(['azure-workload', 'gcp', 'aws', 'aws-eks', 'none'], { required: true }),
    identityId: s.text({ doc: 'Azure: the client id, instead of the one of the service account.' }),
    identityTenantId: s.text({ doc: 'Azure: the tenant, instead of the one of the service account.' }),
    identityAuthorityHost: s.text({ doc: 'Azure: the authority host; needs identityTenantId.' }),
    roleArn: s.text({ doc: 'AWS: the role to assume; not together with identityOwner.' }),
    externalID: s.text({ doc: 'AWS: the external id that assuming roleArn asks for.' }),
    identityOwner: s.choice(['keda', 'workload'], { doc: 'AWS: whose identity is used.' }),
  },
  { doc: 'Use the identity of a pod instead of a secret.' },
);

const keyReferences = (doc: string) =>
  s.list(s.object({ parameter, name: required, key: required }, {}), { doc });

const hashiCorpVault = s.object(
  {
    address: s.text({ required: true }),
    authentication: s.choice(['token', 'kubernetes'], { required: true }),
    namespace: optional,
    role: optional,
    mount: optional,
    credential: s.object({ token: optional, serviceAccount: optional, serviceAccountName: optional }, {}),
    secrets: s.list(
      s.object(
        {
          parameter,
          path: required,
          key: required,
          type: s.choice(['', 'secretV2', 'secret', 'pki'], {}),
          pkiData: s.object(
            {
              commonName: optional,
              altNames: optional,
              ipSans: optional,
              uriSans: optional,
              otherSans: optional,
              ttl: optional,
              format: optional,
            },
            {},
          ),
        },
        {},
      ),
      { required: true, minItems: 1 },
    ),
  },
  { doc: 'Values from HashiCorp Vault.' },
);

const azureKeyVault = s.object(
  {
    vaultUri: required,
    secrets: s.list(s.object({ parameter, name: required, version: optional }, {}), {
      required: true,
      minItems: 1,
    }),
    credentials: s.object(
      { clientId: required, tenantId: required, clientSecret: secretValue({ required: true }) },
      {},
    ),
    podIdentity,
    cloud: s.object({ type: required, keyVaultResourceURL: optional, activeDirectoryEndpoint: optional }, {}),
  },
  { doc: 'Values from Azure Key Vault.' },
);

const gcpSecretManager = s.object(
  {
    secrets: s.list(s.object({ parameter, id: required, version: optional }, {}), {
      required: true,
      minItems: 1,
    }),
    credentials: s.object({ clientSecret: secretValue({ required: true }) }, {}),
    podIdentity,
  },
  { doc: 'Values from the GCP Secret Manager.' },
);

const awsSecretManager = s.object(
  {
    secrets: s.list(
      s.object(
        { parameter, name: required, versionId: optional, versionStage: optional, secretKey: optional },
        {},
      ),
      { required: true, minItems: 1 },
    ),
    credentials: s.object(
      {
        accessKey: secretValue({ required: true }),
        accessSecretKey: secretValue({ required: true }),
        accessToken: secretValue({}),
      },
      {},
    ),
    podIdentity,
    region: optional,
  },
  { doc: 'Values from the AWS Secrets Manager.' },
);

const oauth2 = s.object(
  {
    type: s.choice(['clientCredentials'], {
      required: true,
      default: 'clientCredentials',
      defaultInCrd: true,
    }),
    clientId: required,
    tokenUrl: required,
    clientSecret: secretValue({}),
    scopes: s.list(optional, {}),
    tokenUrlParams: s.map(optional, {}),
  },
  { doc: 'A token from an OAuth 2.0 server.' },
);

/** `spec` of a TriggerAuthentication and of a ClusterTriggerAuthentication. */
export const triggerAuthenticationSpec = s.object(
  {
    podIdentity,
    secretTargetRef: keyReferences('Values from Secrets.'),
    configMapTargetRef: keyReferences('Values from ConfigMaps.'),
    env: s.list(s.object({ parameter, name: required, containerName: optional }, {}), {
      doc: "Values from the environment of the target's containers.",
    }),
    filePath: s.text({
      doc: 'A JSON file with all values, below the folder the operator was given. Cluster scope only.',
    }),
    hashiCorpVault,
    azureKeyVault,
    gcpSecretManager,
    awsSecretManager,
    boundServiceAccountToken: s.list(s.object({ parameter, serviceAccountName: required }, {}), {
      doc: 'Tokens of service accounts.',
    }),
    oauth2,
  },
  { doc: 'Where the parameters of triggers come from.' },
);

/** `status` of both scopes. */
export const triggerAuthenticationStatus = s.object(
  {
    scaledobjects: s.text({ doc: 'The ScaledObjects that use it, separated by commas.' }),
    scaledjobs: s.text({ doc: 'The ScaledJobs that use it, separated by commas.' }),
  },
  { doc: 'Who uses it.' },
);

export type TriggerAuthenticationSpec = Infer<typeof triggerAuthenticationSpec>;

/** A parsed TriggerAuthentication or ClusterTriggerAuthentication. */
export interface TriggerAuthentication {
  kind: 'TriggerAuthentication' | 'ClusterTriggerAuthentication';
  /** Undefined for a ClusterTriggerAuthentication. */
  namespace: string | undefined;
  name: string;
  spec: TriggerAuthenticationSpec;
}

/** Reads a TriggerAuthentication or, by the document's kind, a ClusterTriggerAuthentication. */
export function parseTriggerAuthentication(document: ManifestDocument): Parsed<TriggerAuthentication> {
  const cluster = document.kind === 'ClusterTriggerAuthentication';
  return parseObject(document, triggerAuthenticationSpec, (spec, { namespace, name }) => ({
    kind: cluster ? 'ClusterTriggerAuthentication' : 'TriggerAuthentication',
    namespace: cluster ? undefined : namespace,
    name,
    spec,
  }));
}
