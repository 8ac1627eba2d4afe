import { Fault } from '../base/errors.ts';
import type { ReadContext } from '../scaler/context.ts';
import { defineScaler, type Measure } from '../scaler/define.ts';
import type { Delivery } from '../scaler/delivery.ts';
import {
  type ManagementAccess,
  type RabbitAccess,
  rabbitAccess,
  rabbitAccessParams,
  rabbitIdentity,
} from '../scaler/families/rabbitmq-access.ts';
import { type Broker, openBroker } from '../scaler/families/rabbitmq-broker.ts';
import { type RabbitQueue, rabbitDelivery } from '../scaler/families/rabbitmq-delivery.ts';
import {
  type Management,
  openManagement,
  operations,
  type QueueQuestion,
} from '../scaler/families/rabbitmq-management.ts';
import { type Measured, measureOf, modeOf, modes } from '../scaler/families/rabbitmq-modes.ts';
import { normalizeMetricName } from '../scaler/metric-name.ts';
import { p } from '../scaler/params.ts';
import type { Problem } from '../spec/problem.ts';

/** A trigger, worked out. */
interface Queue extends Measured, RabbitQueue {
  protocol: 'amqp' | 'http';
  matching: QueueQuestion['matching'];
  value: number;
  timeout: number | undefined;
  namespace: string;
}

const deliver: Delivery<Queue, Broker | Management> = rabbitDelivery;

export default defineScaler({
  type: 'rabbitmq',
  doc: 'Counts the messages of one queue in RabbitMQ, or measures how fast they come and go. Over AMQP only messages that are ready are counted, over the management API also those that were handed out and not acknowledged. A queue that is missing is an error, not an empty one.',
  testedWith: { kind: 'real', with: 'RabbitMQ 3.10' },
  params: {
    queueName: p.text({ doc: 'The queue; with `useRegex` an expression for names of queues.' }),
    mode: p.choice([...modes, 'Unknown'], {
      doc: 'What is measured: messages (`QueueLength`), messages published or delivered a second, published ones for each delivered one, or seconds until the queue is empty. All but the first need the management API. `Unknown` is as good as none.',
      default: 'Unknown',
    }),
    value: p.number({
      doc: 'Of that, per replica; 20 messages where neither it nor `mode` is given.',
      optional: true,
    }),
    queueLength: p.number({
      doc: 'Messages per replica.',
      unit: 'messages',
      deprecated: 'use `mode: QueueLength` and `value`',
      optional: true,
    }),
    activationValue: p.number({ doc: 'Active above this value.', default: '0' }),
    useRegex: p.flag({
      doc: 'Takes all queues together whose name matches (management API only). RabbitMQ looks for the expression anywhere in the name, whatever its case. Where none matches, there are no messages.',
      default: 'false',
    }),
    operation: p.text({ doc: 'How they are taken together: `sum`, `max` or `avg`.', default: 'sum' }),
    pageSize: p.integer({ doc: 'Queues per request for them; all pages are read.', default: '100' }),
    excludeUnacknowledged: p.flag({
      doc: 'Counts only messages that are ready (management API only).',
      default: 'false',
    }),
    timeout: p.duration({ doc: 'How long a reading may take (management API only).', optional: true }),
    deadLetter: p.choice(['queue', 'exchange'], {
      doc: 'Not known to KEDA: where a delivered message goes whose Jobs all failed, see below.',
      default: 'queue',
    }),
    ...rabbitAccessParams,
  },
  target: 'value',
  targetFor: {
    words:
      '`value`, or the older `queueLength`, or 20 messages where none of `mode`, `value` and it is given',
    of: ({ value }) => value,
  },
  activation: 'activationValue',
  countsFor: {
    words:
      'what waits; over the management API, unless `excludeUnacknowledged` is set, for what waits and what is being processed',
    of: ({ protocol, excludeUnacknowledged }) =>
      protocol === 'http' && !excludeUnacknowledged ? 'waiting and in flight' : 'waiting',
  },

  resolve(values, { namespace }): Queue | { problems: Problem[] } {
    const { pageSize, useRegex, excludeUnacknowledged, queueName, activationValue } = values;
    const operation = operations.find(each => each === values.operation);
    const access = rabbitAccess(values);
    const protocol = 'protocol' in access ? access.protocol : 'http';
    const measured = modeOf({ ...values, protocol });
    const problems = [
      ...('problems' in access ? access.problems : []),
      ...('problems' in measured ? measured.problems : []),
      ...(pageSize < 1 ? [refused('pageSize', `pageSize is ${pageSize}`, 'use 1 or more')] : []),
    ];
    if (useRegex && operation === undefined) {
      const problem = `"${values.operation}" is no operation`;
      problems.push(refused('operation', problem, `use ${operations.join(', ')}`));
    }
    for (const [name, given] of Object.entries({ useRegex, excludeUnacknowledged })) {
      if (protocol === 'http' || !given) continue;
      problems.push(refused(name, `${name} is for the management API only`, 'use an http or https URL'));
    }
    if (problems.length > 0 || 'problems' in access || 'problems' in measured) return { problems };
    return {
      access,
      protocol,
      queueName,
      namespace,
      mode: measured.mode,
      value: measured.value,
      activationValue,
      excludeUnacknowledged,
      matching: useRegex && operation !== undefined ? { pageSize, operation } : undefined,
      timeout: values.timeout,
      deadLetter: values.deadLetter,
    };
  },

  metricName: ({ queueName }) => normalizeMetricName(`rabbitmq-${queryEscaped(queueName)}`),
  endpoint: ({ access }) => rabbitIdentity(access),
  query: ({ access, queueName, mode, activationValue, excludeUnacknowledged, matching }) => {
    if (!isManagement(access)) return queueName;
    const { pageSize = 0, operation = '' } = matching ?? {};
    const asked = [
      access.vhost,
      queueName,
      mode,
      activationValue,
      excludeUnacknowledged,
      pageSize,
      operation,
    ];
    return JSON.stringify(asked);
  },
  timeoutMs: ({ timeout }) => (timeout === 0 ? undefined : timeout),

  async open({ access }, context): Promise<Broker | Management> {
    if ('wrong' in access) throw new Fault('PARAM_INVALID', access.wrong);
    if (access.protocol === 'http') return openManagement(access, context);
    return await openBroker(access, context);
  },

  async read(queue, context) {
    const [measure = Number.NaN] = await readAll([queue], context);
    if (measure instanceof Fault) throw measure;
    return measure;
  },
  readMany: readAll,
  deliver,
});

/** One request, or a few, however many queues. */
async function readAll(
  queues: readonly Queue[],
  { conn, now, signal }: ReadContext<Broker | Management>,
): Promise<(Measure | Fault)[]> {
  if (conn.protocol === 'amqp') {
    return await conn.count(
      queues.map(({ queueName }) => queueName),
      signal,
    );
  }
  const questions = queues.map(({ access, queueName, matching }) => ({
    vhost: isManagement(access) ? access.vhost : '',
    queueName,
    matching,
  }));
  const facts = await conn.ask(questions, { now, signal });
  return queues.map((queue, index) => {
    const found = facts[index] ?? new Fault('INTERNAL', `queue "${queue.queueName}" was not asked for`);
    return found instanceof Fault ? found : measureOf(found, queue);
  });
}

const isManagement = (access: RabbitAccess): access is ManagementAccess =>
  access.protocol === 'http' && !('wrong' in access);

/** As Go writes a text into a query: KEDA makes the name of the metric from that. */
const queryEscaped = (text: string) =>
  encodeURIComponent(text)
    .replace(/[!'()*]/g, sign => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%20', '+');

const refused = (name: string, problem: string, mending: string) => ({
  problem,
  mending,
  place: { field: `metadata.${name}` },
});
