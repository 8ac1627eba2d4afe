import { Fault } from '../base/errors.ts';
import { defineScaler, refuse } from '../scaler/define.ts';
import { awsAccess, awsIdentity, awsParams } from '../scaler/families/aws-access.ts';
import { callSqs, openSqs, queueNameOf, type SqsClient, type SqsQueue } from '../scaler/families/aws-sqs.ts';
import { sqsDelivery } from '../scaler/families/aws-sqs-delivery.ts';
import { normalizeMetricName } from '../scaler/metric-name.ts';
import { p } from '../scaler/params.ts';
import type { Problem } from '../spec/problem.ts';

const waiting = 'ApproximateNumberOfMessages';
const inFlight = 'ApproximateNumberOfMessagesNotVisible';
const delayed = 'ApproximateNumberOfMessagesDelayed';

export default defineScaler({
  type: 'aws-sqs-queue',
  doc: 'Counts the messages of one queue in AWS SQS: those that wait, and unless scaleOnInFlight is false those that were received and not deleted. SQS counts approximately, and what was sent in the last minute may be missing.',
  testedWith: { kind: 'stub', with: 'moto 5.2.5, which imitates AWS' },
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
  countsFor: {
    words: 'what waits and what is being processed; with `scaleOnInFlight: false` for what waits alone',
    of: ({ attributes }) => (attributes.includes(inFlight) ? 'waiting and in flight' : 'waiting'),
  },
  metricName: ({ queueName }) => normalizeMetricName(`aws-sqs-${queueName}`),
  endpoint: ({ access }) => awsIdentity(access),
  query: ({ queueURL, attributes }) => `${attributes.length} ${attributes.at(-1)} ${queueURL}`,
  open: async ({ access }, context): Promise<SqsClient> => openSqs(access, context),
  async read(queue, context) {
    const { queueURL, queueName, attributes } = queue;
    const input = { QueueUrl: queueURL, AttributeNames: attributes };
    const answer = await callSqs(queue, context, { action: 'GetQueueAttributes', input });
    const counts = (answer['Attributes'] ?? {}) as Readonly<Record<string, unknown>>;
    return attributes.reduce((sum, name) => {
      const count = counts[name];
      if (typeof count === 'string' && /^\d{1,15}$/.test(count)) return sum + Number(count);
      const what = `queue "${queueName}" at ${context.conn.name}`;
      throw new Fault('SOURCE_ANSWER_INVALID', `${what} did not say its ${name}`);
    }, 0);
  },
  deliver: sqsDelivery,
});
