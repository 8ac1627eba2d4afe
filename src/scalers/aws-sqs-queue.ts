import { Fault } from '../base/errors.ts';
import { defineScaler, refuse } from '../scaler/define.ts';
import { awsAccess, awsIdentity, awsParams } from '../scaler/families/aws-access.ts';
import { type AwsClient, openAws } from '../scaler/families/aws-client.ts';
import { queueNameOf, type SqsQueue } from '../scaler/families/aws-sqs.ts';
import { normalizeMetricName } from '../scaler/metric-name.ts';
import { p } from '../scaler/params.ts';
import type { Problem } from '../spec/problem.ts';

const waiting = 'ApproximateNumberOfMessages';
const inFlight = 'ApproximateNumberOfMessagesNotVisible';
const delayed = 'ApproximateNumberOfMessagesDelayed';

export default defineScaler({
  type: 'aws-sqs-queue',
  doc: 'Counts the messages of one queue in AWS SQS: those that wait, and unless scaleOnInFlight is false those that were received and not deleted. SQS counts approximately, and what was sent in the last minute may be missing.',
  params: {
    queueURL: p.text({ doc: 'URL of the queue, or its name.', from: ['metadata', 'env'] }),
    queueLength: p.integer({ doc: 'Messages per replica.', unit: 'messages', default: '5' }),
    activationQueueLength: p.integer({
      doc: 'Active above this many messages.',
      unit: 'messages',
      default: '0',
    }),
    scaleOnInFlight: p.flag({
      doc: 'Whether messages that were received and not deleted count.',
      default: 'true',
    }),
    scaleOnDelayed: p.flag({
      doc: 'Whether messages count that cannot be received yet.',
      default: 'false',
    }),
    ...awsParams,
  },
  target: 'queueLength',
  activation: 'activationQueueLength',
  counts: 'waiting and in flight',
  resolve(values, { podIdentity }): SqsQueue | { problems: Problem[] } {
    const { queueURL, scaleOnInFlight, scaleOnDelayed } = values;
    const access = awsAccess('sqs', values, podIdentity);
    const queueName = queueNameOf(queueURL);
    const problems = 'problems' in access ? [...access.problems] : [];
    if (queueName === undefined) {
      problems.push({
        problem: `"${queueURL}" is no URL of a queue`,
        mending: 'write https://sqs.<region>.amazonaws.com/<account>/<queue>, or the name of the queue alone',
        place: { field: 'metadata.queueURL' },
      });
    }
    if ('problems' in access || queueName === undefined) return refuse(problems);
    const attributes = [
      waiting,
      ...(scaleOnInFlight ? [inFlight] : []),
      ...(scaleOnDelayed ? [delayed] : []),
    ];
    return { access, queueURL, queueName, attributes };
  },
  countsFor: ({ attributes }) => (attributes.includes(inFlight) ? 'waiting and in flight' : 'waiting'),
  metricName: ({ queueName }) => normalizeMetricName(`aws-sqs-${queueName}`),
  endpoint: ({ access }) => awsIdentity(access),
  query: ({ queueURL, attributes }) => `${attributes.length} ${attributes.at(-1)} ${queueURL}`,
  open: async ({ access }, context): Promise<AwsClient> => openAws(access, '1.0', context),
  async read({ queueURL, queueName, attributes }, { conn, now, signal }) {
    const what = `queue "${queueName}"`;
    const answer = await conn.call({
      action: 'AmazonSQS.GetQueueAttributes',
      input: { QueueUrl: queueURL, AttributeNames: attributes },
      what,
      now,
      signal,
    });
    const counts = (answer['Attributes'] ?? {}) as Readonly<Record<string, unknown>>;
    return attributes.reduce((sum, name) => {
      const count = counts[name];
      if (typeof count === 'string' && /^\d+$/.test(count)) return sum + Number(count);
      throw new Fault('SOURCE_ANSWER_INVALID', `${what} at ${conn.name} did not say its ${name}`);
    }, 0);
  },
});
