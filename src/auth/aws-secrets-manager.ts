import { Fault } from '../base/errors.ts';
import { askGranted, awsKeysAreOver } from '../base/grant.ts';
import { Secret } from '../base/secret.ts';
import { type AwsCredentials, signedHeaders } from '../base/sigv4.ts';
import type { PodIdentity } from '../spec/pod-identity.ts';
import type { TriggerAuthenticationSpec } from '../spec/trigger-authentication.ts';
import { awsEndpoint, elementOf } from './aws-api.ts';
import { type Json, jsonOf, recordOf, refusalOf, textOf } from './provider-answer.ts';
import { fromSecrets } from './secret.ts';
import { requireWorkloadRole } from './service-account.ts';
import { type Answered, type Caller, type StoreAsk, storedValue } from './stores.ts';

export type AwsSecretManager = NonNullable<TriggerAuthenticationSpec['awsSecretManager']>;
type AwsSecret = AwsSecretManager['secrets'][number];

/**
 * Parameters from the AWS Secrets Manager: `awsSecretManager`, with keys of its own or the pod identity `aws`.
 * Unlike KEDA, what cannot be had is a Fault, and `accessToken` is used.
 *
 * @param template of the workload's pods, for `identityOwner: workload`; asked for only then
 * @throws Fault AUTH_MISSING, AUTH_FAILED, MANIFEST_INVALID, NOT_SUPPORTED
 */
export async function fromAwsSecretsManager(
  spec: AwsSecretManager,
  ask: StoreAsk,
  template: () => Promise<unknown>,
): Promise<Record<string, Secret>> {
  const region = spec.region || ask.stores.options.aws.region;
  if (!region) {
    throw new Fault(
      'MANIFEST_INVALID',
      `awsSecretManager of ${ask.of} has no region, and the operator has no AWS_REGION`,
    );
  }
  const address = ask.stores.options.aws.secretsManagerEndpoint;
  // What is no region is refused, whether or not it becomes part of the address.
  const regional = awsEndpoint('secretsmanager', region);
  const url = address || regional;
  const who = await whoAsks(spec, { ...ask, region }, template);
  const found: Record<string, Secret> = {};
  for (const secret of spec.secrets) {
    const { name, versionId, versionStage } = secret;
    const key = ['aws', url, who.key, name, versionId, versionStage];
    const answer = await storedValue(key, new URL(url).host, {
      ask,
      fetch: stop => fetchSecret(secret, { url, region, who, ask: { ...ask, signal: stop } }),
    });
    found[secret.parameter] = new Secret(partOf(secret, answer));
  }
  return found;
}

async function whoAsks(
  { credentials, podIdentity }: AwsSecretManager,
  ask: StoreAsk & { region: string },
  template: () => Promise<unknown>,
): Promise<Caller<AwsCredentials>> {
  const { tokens } = ask.stores;
  if (podIdentity?.provider === 'aws') {
    const identity = await roleOf(podIdentity, ask, template);
    return {
      key: JSON.stringify(identity),
      grant: signal => tokens.awsCredentials({ ...identity, region: ask.region }, signal),
      refused: keys => tokens.refused(keys),
    };
  }
  if (podIdentity !== undefined && podIdentity.provider !== 'none') {
    const sentence = `awsSecretManager of ${ask.of} does not know the pod identity ${podIdentity.provider}`;
    throw new Fault('MANIFEST_INVALID', `${sentence}; aws is right`);
  }
  if (credentials === undefined) {
    throw new Fault(
      'MANIFEST_INVALID',
      `awsSecretManager of ${ask.of} has neither credentials nor a podIdentity`,
    );
  }
  const names = ['accessKey', 'accessSecretKey', 'accessToken'] as const;
  const given = await fromSecrets(
    names.flatMap(name => {
      const reference = credentials[name]?.valueFrom.secretKeyRef;
      return reference === undefined ? [] : [{ parameter: name, ...reference }];
    }),
    ask.namespace,
    ask.lookup,
  );
  const { accessKey, accessSecretKey, accessToken } = given;
  const keys: AwsCredentials = {
    accessKeyId: accessKey?.reveal().trim() ?? '',
    secretAccessKey: new Secret(accessSecretKey?.reveal().trim() ?? ''),
    ...(accessToken === undefined ? {} : { sessionToken: accessToken }),
  };
  return {
    key: JSON.stringify([keys.accessKeyId, keys.secretAccessKey.fingerprint(), accessToken?.fingerprint()]),
    grant: async () => keys,
    refused() {},
  };
}

async function roleOf(
  { roleArn, externalID, identityOwner }: PodIdentity,
  { lookup, workloadNamespace, of }: StoreAsk,
  template: () => Promise<unknown>,
) {
  if (identityOwner === 'workload') {
    if (roleArn) {
      const sentence = `podIdentity of ${of} has both a roleArn and the workload as identityOwner`;
      throw new Fault('MANIFEST_INVALID', sentence);
    }
    const role = await requireWorkloadRole(await template(), workloadNamespace, lookup);
    return { roleArn: role, webIdentity: true };
  }
  if (!roleArn) return { webIdentity: true };
  return { roleArn, webIdentity: true, ...(externalID ? { externalId: externalID } : {}) };
}

/** @see https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html */
async function fetchSecret(
  { name, versionId, versionStage }: AwsSecret,
  { url, region, who, ask }: { url: string; region: string; who: Caller<AwsCredentials>; ask: StoreAsk },
): Promise<Answered> {
  const { stores, signal } = ask;
  const now = stores.clock.now();
  const request = {
    method: 'POST' as const,
    url,
    headers: {
      'content-type': 'application/x-amz-json-1.1',
      'x-amz-target': 'secretsmanager.GetSecretValue',
    },
    body: JSON.stringify({
      SecretId: name,
      ...(versionId ? { VersionId: versionId } : {}),
      ...(versionStage ? { VersionStage: versionStage } : {}),
    }),
  };
  const { answer, grant: credentials } = await askGranted(who, {
    send: keys => {
      const signing = { credentials: keys, region, service: 'secretsmanager', now };
      return stores.http.send({ ...request, headers: signedHeaders(request, signing), signal });
    },
    isRefused: awsKeysAreOver,
    signal,
  });
  const json = jsonOf(answer);
  const { host } = new URL(url);
  const isValue = ['SecretString', 'SecretBinary'].some(name => typeof json[name] === 'string');
  if (answer.status === 200 && isValue) return { value: json };
  // What refuses a request before it reaches the service speaks XML.
  const xml = answer.body.toString('utf8');
  const type = textOf(json['__type'])?.split('#').at(-1) ?? elementOf(xml, 'Code');
  const message = textOf(json['message']) ?? textOf(json['Message']) ?? elementOf(xml, 'Message');
  if (type === 'ResourceNotFoundException') {
    throw new Fault('AUTH_MISSING', `${host} has no secret "${name}": ${message}`);
  }
  const why = [type, message].filter(Boolean).join(': ');
  const secrets = [credentials.secretAccessKey, credentials.sessionToken].filter(each => each !== undefined);
  throw refusalOf(answer, { host, what: `secret "${name}"`, why, secrets, now });
}

/** The whole text, or one text of the JSON object that it is. */
function partOf({ name, parameter, secretKey }: AwsSecret, answer: Json): string {
  const binary = textOf(answer['SecretBinary']);
  const text =
    textOf(answer['SecretString']) ??
    (binary === undefined ? '' : Buffer.from(binary, 'base64').toString('utf8'));
  if (!secretKey) return text;
  let values: Json | undefined;
  try {
    values = recordOf(JSON.parse(text));
  } catch {
    // The parser's own message quotes what it read.
  }
  const value = values !== undefined && Object.hasOwn(values, secretKey) ? values[secretKey] : undefined;
  if (typeof value === 'string') return value;
  const sentence = `parameter "${parameter}" is key "${secretKey}" of secret "${name}" in AWS`;
  throw new Fault(
    'AUTH_MISSING',
    `${sentence}, which is ${values === undefined ? 'not a JSON object' : 'not there or is no text'}`,
  );
}
