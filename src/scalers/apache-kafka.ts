import { defineScaler, refuse } from '../scaler/define.ts';
import type { KafkaClient } from '../scaler/families/kafka.ts';
import {
  kafkaAccess,
  kafkaIdentity,
  kafkaParams,
  openKafka,
  problemsOfMissing,
  problemsOfRules,
  problemsOfTls,
} from '../scaler/families/kafka-access.ts';
import { kafkaDelivery } from '../scaler/families/kafka-delivery.ts';
import { type KafkaTrigger, lagMetricName, readLag, readLags } from '../scaler/families/kafka-lag-reading.ts';
import { mskIdentity } from '../scaler/families/kafka-msk.ts';
import { p } from '../scaler/params.ts';

const params = {
  ...kafkaParams,
  topic: p.list({
    doc: 'The topics, with commas between them; unless given, all topics that the group has committed offsets in or subscribes to.',
    from: ['metadata', 'env'],
    optional: true,
  }),
  partitionLimitation: p.integers({
    doc: 'Only these partitions count, such as `1,2,10-20`; needs `topic`.',
    range: '-',
    optional: true,
  }),
  sasl: p.choice(['none', 'plaintext', 'scram_sha256', 'scram_sha512', 'gssapi', 'aws_msk_iam'], {
    doc: 'How to log in; `gssapi` (Kerberos) is refused when the connection is made.',
    from: ['metadata', 'auth'],
    default: 'none',
  }),
};

export default defineScaler<typeof params, KafkaClient, KafkaTrigger>({
  type: 'apache-kafka',
  doc: 'Counts the messages of one or more topics in Kafka that a consumer group is behind. A group that has not committed anything yet counts as one message behind in each partition.',
  testedWith: { kind: 'real', with: 'Apache Kafka 4.1.1' },
  params,
  target: 'lagThreshold',
  activation: 'activationLagThreshold',
  // What a consumer works on is not committed yet.
  counts: 'waiting and in flight',
  resolve(values, { podIdentity }) {
    const {
      consumerGroup: group,
      topic: topics = [],
      partitionLimitation: limit = [],
      sasl,
      username,
      password,
    } = values;
    const problems = [
      ...problemsOfRules({ ...values, hasTopic: topics.length > 0 }),
      ...problemsOfTls(values),
    ];
    if (sasl === 'plaintext' || sasl === 'scram_sha256' || sasl === 'scram_sha512') {
      problems.push(...problemsOfMissing({ username, password }, `sasl ${sasl}`));
    }
    const msk = sasl === 'aws_msk_iam' ? mskIdentity(values, podIdentity, problems) : undefined;
    if (problems.length > 0) return refuse(problems);
    // As in KEDA, where a range from more to less leaves no limit.
    const partitions = limit.length === 0 ? undefined : new Set(limit);
    return {
      access: kafkaAccess(values, { mechanism: sasl, msk }),
      ask: { group, topics, partitions },
      rules: values,
    };
  },
  metricName: lagMetricName,
  family: 'kafka',
  endpoint: ({ access }) => kafkaIdentity(access),
  open: async ({ access }, context) => openKafka(access, context),
  read: readLag,
  readMany: readLags,
  deliver: kafkaDelivery,
});
