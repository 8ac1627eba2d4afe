import { defineScaler, refuse } from '../scaler/define.ts';
import type { KafkaClient } from '../scaler/families/kafka.ts';
import {
  at,
  type BearerAccess,
  excluding,
  type KafkaLogin,
  kafkaAccess,
  kafkaIdentity,
  kafkaParams,
  needsTopic,
  openKafka,
  problemsOfMissing,
  problemsOfRules,
  problemsOfTls,
} from '../scaler/families/kafka-access.ts';
import { kafkaDelivery } from '../scaler/families/kafka-delivery.ts';
import { type KafkaTrigger, lagMetricName, readLag, readLags } from '../scaler/families/kafka-lag-reading.ts';
import { mskIdentity } from '../scaler/families/kafka-msk.ts';
import { p, type ValuesOf } from '../scaler/params.ts';
import type { PodIdentity } from '../spec/pod-identity.ts';
import type { Problem } from '../spec/problem.ts';

const secret = ['auth'] as const;
const partitionList = p.integers({ doc: '', range: '-' });

const params = {
  ...kafkaParams,
  topic: p.text({
    doc: 'The topic; unless given, all topics that the group has committed offsets in or subscribes to.',
    from: ['metadata', 'env'],
    optional: true,
  }),
  partitionLimitation: p.text({
    doc: 'Only these partitions count, such as `1,2,10-20`; needs `topic`.',
    optional: true,
  }),
  fullMetadata: p.flag({
    doc: 'Accepted, and of no effect: only the metadata of the topics that count is ever asked for.',
    default: 'true',
  }),
  version: p.text({
    doc: 'Accepted, and of no effect: the brokers themselves say what they know.',
    optional: true,
  }),
  unsafeSsl: p.flag({ doc: "Skip verification of the brokers' certificates.", default: 'false' }),
  sasl: p.choice(['none', 'plaintext', 'scram_sha256', 'scram_sha512', 'oauthbearer', 'gssapi'], {
    doc: 'How to log in; `gssapi` (Kerberos) is refused when the connection is made.',
    from: ['metadata', 'auth'],
    optional: true,
  }),
  saslTokenProvider: p.choice(['bearer', 'aws_msk_iam'], {
    doc: 'Where bearer tokens come from: a token endpoint, or the identity in AWS.',
    from: ['metadata', 'auth'],
    optional: true,
  }),
  oauthTokenEndpointUri: p.text({ doc: 'Where bearer tokens are issued.', from: secret, optional: true }),
  scopes: p.text({ doc: 'Scopes to ask for, with commas between them.', from: secret, optional: true }),
  oauthExtensions: p.text({
    doc: 'SASL extensions sent with the token: `key=value`, with commas between them.',
    from: secret,
    optional: true,
  }),
  keytab: p.secret({ doc: 'Kerberos keytab (gssapi only).', from: secret, optional: true }),
  realm: p.text({ doc: 'Kerberos realm (gssapi only).', from: secret, optional: true }),
  kerberosConfig: p.text({ doc: 'Kerberos configuration (gssapi only).', from: secret, optional: true }),
  kerberosServiceName: p.text({ doc: 'Kerberos service name (gssapi only).', from: secret, optional: true }),
  kerberosDisableFAST: p.flag({ doc: 'Do without FAST (gssapi only).', from: secret, default: 'false' }),
};

type Values = ValuesOf<typeof params>;

export default defineScaler<typeof params, KafkaClient, KafkaTrigger>({
  type: 'kafka',
  doc: 'Counts the messages of a topic in Kafka that a consumer group is behind. A group that has not committed anything yet counts as one message behind in each partition.',
  testedWith: { kind: 'real', with: 'Apache Kafka 4.1.1' },
  params,
  target: 'lagThreshold',
  activation: 'activationLagThreshold',
  // What a consumer works on is not committed yet.
  counts: 'waiting and in flight',
  resolve(values, { podIdentity }) {
    const { consumerGroup: group, topic, partitionLimitation, version, fullMetadata } = values;
    const problems = [
      ...problemsOfRules({ ...values, hasTopic: topic !== undefined }),
      ...problemsOfTls(values),
    ];
    if (values.ensureEvenDistributionOfPartitions) {
      if (values.limitToPartitionsWithLag) {
        problems.push(excluding('ensureEvenDistributionOfPartitions', 'limitToPartitionsWithLag'));
      }
      if (topic === undefined) problems.push(needsTopic('ensureEvenDistributionOfPartitions'));
    }
    if (!fullMetadata && topic === undefined) problems.push(needsTopic('fullMetadata: false'));
    if (version !== undefined && !/^(0(\.\d+){3}|[1-9]\d*(\.\d+){2})$/.test(version)) {
      const mending = 'use a form such as 2.8.0';
      problems.push({ problem: `"${version}" is not a version of Kafka`, mending, place: at('version') });
    }
    const partitions = partitionsOf(partitionLimitation, problems);
    const login = loginOf(values, podIdentity, problems);
    if (problems.length > 0) return refuse(problems);
    const ask = { group, topics: topic === undefined ? [] : [topic], partitions };
    return { access: kafkaAccess(values, login), ask, rules: values };
  },
  metricName: lagMetricName,
  family: 'kafka',
  endpoint: ({ access }) => kafkaIdentity(access),
  open: async ({ access }, context) => openKafka(access, context),
  read: readLag,
  readMany: readLags,
  deliver: kafkaDelivery,
});

function partitionsOf(text: string | undefined, problems: Problem[]): ReadonlySet<number> | undefined {
  if (text === undefined) return undefined;
  try {
    return new Set(partitionList.parse(text.replaceAll(/\b0+(?=\d)/g, '')));
  } catch {
    const problem = `"${text}" is not a list of partitions`;
    problems.push({ problem, mending: 'use a form such as 1,2,10-20', place: at('partitionLimitation') });
    return undefined;
  }
}

function loginOf(values: Values, identity: PodIdentity, problems: Problem[]): KafkaLogin {
  const { sasl: mechanism = 'none', username, password, keytab, realm, kerberosConfig } = values;
  switch (mechanism) {
    case 'none':
      return { mechanism };
    case 'plaintext':
    case 'scram_sha256':
    case 'scram_sha512':
      problems.push(...problemsOfMissing({ username, password }, `sasl ${mechanism}`));
      return { mechanism };
    case 'gssapi':
      problems.push(...problemsOfMissing({ username, realm, kerberosConfig }, 'sasl gssapi'));
      if ((password === undefined) === (keytab === undefined)) {
        const problem = 'sasl gssapi needs exactly one of password and keytab';
        problems.push({ problem, place: at('keytab') });
      }
      return { mechanism };
    case 'oauthbearer':
      return values.saslTokenProvider === 'aws_msk_iam'
        ? { mechanism, msk: mskIdentity(values, identity, problems) }
        : { mechanism, bearer: bearerOf(values, problems) };
  }
}

function bearerOf(values: Values, problems: Problem[]): BearerAccess {
  const { username, password, oauthTokenEndpointUri, scopes = '', oauthExtensions } = values;
  problems.push(...problemsOfMissing({ username, password, oauthTokenEndpointUri }, 'sasl oauthbearer'));
  if (oauthTokenEndpointUri !== undefined && !URL.canParse(oauthTokenEndpointUri)) {
    problems.push({ problem: 'oauthTokenEndpointUri is not a URL', place: at('oauthTokenEndpointUri') });
  }
  const list = scopes.split(',').map(scope => scope.trim());
  return {
    tokenUrl: oauthTokenEndpointUri ?? '',
    scopes: list.filter(scope => scope !== ''),
    extensions: extensionsOf(oauthExtensions, problems),
  };
}

function extensionsOf(text: string | undefined, problems: Problem[]): Record<string, string> {
  const pairs = (text ?? '').split(',').filter(pair => pair !== '');
  const split = pairs.map(pair => pair.split('='));
  if (split.some(parts => parts.length !== 2)) {
    const mending = 'give each extension as key=value';
    problems.push({ problem: 'oauthExtensions cannot be read', mending, place: at('oauthExtensions') });
  }
  return Object.fromEntries(split.map(([name = '', value = '']) => [name.trim(), value]));
}
