import { Fault } from '../base/errors.ts';
import type { ReadContext } from '../scaler/context.ts';
import { defineScaler, refuse } from '../scaler/define.ts';
import type { Delivery } from '../scaler/delivery.ts';
import { type BusClient, busDelivery, openBus } from '../scaler/families/azure-bus-delivery.ts';
import { type BusEntity, withoutCounts } from '../scaler/families/azure-bus-entities.ts';
import {
  type BusEntityName,
  type BusPlace,
  busAccess,
  busEntity,
  busIdentity,
  busPlace,
} from '../scaler/families/azure-bus-place.ts';
import { normalizeMetricName } from '../scaler/metric-name.ts';
import { p } from '../scaler/params.ts';

const operations = ['sum', 'max', 'avg'] as const;

interface Bus {
  place: BusPlace;
  entity: BusEntityName;
  operation: (typeof operations)[number];
}

const deliver: Delivery<Bus, BusClient> = busDelivery;

export default defineScaler({
  type: 'azure-servicebus',
  doc: 'Counts the active messages of a Service Bus queue or subscription, or of all whose names match an expression. Messages that are locked by a receiver are active, too; scheduled, deferred and dead-lettered ones are not.',
  testedWith: { kind: 'stub', with: "a server written from Microsoft's documentation" },
  params: {
    queueName: p.text({
      doc: 'Name of the queue, or an expression; not together with `topicName`.',
      optional: true,
    }),
    topicName: p.text({ doc: 'Name of the topic.', optional: true }),
    subscriptionName: p.text({
      doc: 'Name of the subscription of the topic, or an expression; needed with `topicName`.',
      optional: true,
    }),
    messageCount: p.integer({ doc: 'Active messages per replica.', unit: 'messages', default: '5' }),
    activationMessageCount: p.integer({
      doc: 'Active above this many messages.',
      unit: 'messages',
      default: '0',
    }),
    useRegex: p.flag({
      doc: 'Whether `queueName` or `subscriptionName` is a regular expression in Go’s syntax, which must match the whole of a name.',
      default: 'false',
    }),
    operation: p.choice(operations, {
      doc: 'What to make of the counts of all that match; `avg` is rounded down. None that matches counts as zero.',
      default: 'sum',
    }),
    connection: p.secret({
      doc: 'Connection string of the namespace, whose policy must allow Manage; not needed with a pod identity.',
      from: ['auth', 'env'],
      optional: true,
    }),
    namespace: p.text({
      doc: 'Name of the namespace, without its domain; needed with a pod identity.',
      optional: true,
    }),
    cloud: p.text({
      doc: 'Cloud of the namespace, with a pod identity: AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, AzureGermanCloud or Private.',
      optional: true,
    }),
    endpointSuffix: p.text({
      doc: 'Domain of Service Bus, such as `servicebus.private.cloud`; for `cloud: Private` only.',
      optional: true,
    }),
  },
  target: 'messageCount',
  activation: 'activationMessageCount',
  counts: 'waiting and in flight',
  resolve(values, context) {
    const place = busPlace(values, context);
    const entity = busEntity(values);
    const problems = [place, entity].flatMap(part => ('problems' in part ? part.problems : []));
    if ('problems' in place || 'problems' in entity) return refuse(problems);
    return { place, entity, operation: values.operation };
  },
  metricName({ entity: { topic, name, matches } }) {
    const kind = topic === undefined ? 'queue' : 'topic';
    return normalizeMetricName(
      `azure-servicebus-${matches === undefined ? (topic ?? name) : `${kind}-regex`}`,
    );
  },
  endpoint: ({ place }) => busIdentity(place),
  query: ({ entity: { topic, name, matches }, operation }) =>
    JSON.stringify([topic, name, matches === undefined ? undefined : operation]),
  open: async ({ place }, context) => openBus(busAccess(place), context),
  async read(bus, context) {
    const [count = Number.NaN] = await readAll([bus], context);
    if (count instanceof Fault) throw count;
    return count;
  },
  readMany: readAll,
  deliver,
});

/** A few lists for however many queues. */
async function readAll(
  buses: readonly Bus[],
  { conn, now, signal }: ReadContext<BusClient>,
): Promise<(number | Fault)[]> {
  const questions = buses.map(({ entity: { topic, name, matches } }) =>
    matches === undefined
      ? ({ kind: 'one', topic, name } as const)
      : ({ kind: 'all', topic, matches } as const),
  );
  const answers = await conn.admin.ask(questions, { now, signal });
  const [first] = answers;
  if (first instanceof Fault && answers.every(cannotBeHad)) throw first;
  return buses.map((bus, index) => {
    const found = answers[index] ?? [];
    return found instanceof Fault ? found : countOf(found, bus.operation);
  });
}

const cannotBeHad = (answer: unknown) => answer instanceof Fault && answer.code !== 'SOURCE_NOT_FOUND';

/** As KEDA has it: no match counts as nothing, and an average is whole. One count that is not known leaves none. */
function countOf(entities: readonly BusEntity[], operation: Bus['operation']): number | Fault {
  let result = 0;
  for (const { active, name } of entities) {
    if (active === undefined) return withoutCounts(name);
    result = operation === 'max' ? Math.max(result, active) : result + active;
  }
  return operation === 'avg' && entities.length > 0 ? Math.floor(result / entities.length) : result;
}
