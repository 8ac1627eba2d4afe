import { defineScaler, refuse } from '../scaler/define.ts';
import { EventHubClient } from '../scaler/families/azure-event-hub.ts';
import { eventHubIdentity, eventHubPlace } from '../scaler/families/azure-event-hub-access.ts';
import { checkpointPlan } from '../scaler/families/azure-event-hub-checkpoints.ts';
import { eventHubDelivery } from '../scaler/families/azure-event-hub-delivery.ts';
import { compileEventFilter, type EventFilter } from '../scaler/families/azure-event-hub-filter.ts';
import { type EventHubTrigger, readHub, readHubs } from '../scaler/families/azure-event-hub-reading.ts';
import { accountIdentity } from '../scaler/families/azure-storage.ts';
import { normalizeMetricName } from '../scaler/metric-name.ts';
import { p, type ValuesOf } from '../scaler/params.ts';
import type { Problem } from '../spec/problem.ts';

/** Of each partition in one reading; the numbers of all that match are kept. */
const mostLookAhead = 100_000;

const params = {
  eventHubName: p.text({
    doc: 'Name of the event hub, where the connection string has no `EntityPath`; needed with a pod identity.',
    from: ['metadata', 'env'],
    optional: true,
  }),
  eventHubNamespace: p.text({
    doc: 'Name of the namespace, without its domain; needed with a pod identity.',
    from: ['metadata', 'env'],
    optional: true,
  }),
  consumerGroup: p.text({ doc: 'Consumer group whose events count.', default: '$Default' }),
  unprocessedEventThreshold: p.integer({ doc: 'Events per replica.', unit: 'events', default: '64' }),
  activationUnprocessedEventThreshold: p.integer({
    doc: 'Active above this many events.',
    unit: 'events',
    default: '0',
  }),
  connection: p.secret({
    doc: 'Connection string of the namespace or of the hub; not needed with a pod identity.',
    from: ['auth', 'env'],
    optional: true,
  }),
  storageConnection: p.secret({
    doc: 'Connection string of the storage account with the checkpoints; a pod identity can do without.',
    from: ['auth', 'env'],
    optional: true,
  }),
  storageAccountName: p.text({
    doc: 'Name of the storage account with the checkpoints, to be read by the pod identity.',
    optional: true,
  }),
  blobContainer: p.text({
    doc: 'Container of the checkpoints; Azure Functions always use `azure-webjobs-eventhub`.',
    optional: true,
  }),
  checkpointStrategy: p.text({
    doc: 'How the consumers keep their checkpoints: `blobMetadata` (all current SDKs), `azureFunction` (older Functions; also meant without `blobContainer`), `goSdk`, `dapr`; otherwise as the oldest SDKs do.',
    optional: true,
  }),
  stalePartitionInfoThreshold: p.integer({
    doc: 'A checkpoint that is ahead of the partition by no more than this counts as all processed.',
    unit: 'events',
    default: '10000',
  }),
  filter: p.text({
    doc: "Only events for which this is true count, such as `body.kind == 'page' && properties.lang in ['en', 'de']`; see [event filters](../event-filters.md). Not part of KEDA.",
    optional: true,
  }),
  filterConsumerGroup: p.text({
    doc: 'Consumer group in which `filter` looks at events, `consumerGroup` unless given. Consumers that hold their partitions alone (EventProcessorClient, Azure Functions) keep others out of their group: name one that they do not use.',
    optional: true,
  }),
  filterLookAhead: p.integer({
    doc: 'How many events of each partition `filter` looks at in one reading. Events that it has not looked at yet count.',
    unit: 'events',
    default: '1000',
  }),
  cloud: p.text({
    doc: 'Cloud of the namespace: AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, AzureGermanCloud or Private.',
    optional: true,
  }),
  endpointSuffix: p.text({
    doc: 'Domain of the namespace, such as `servicebus.private.cloud`; for `cloud: Private` only.',
    optional: true,
  }),
  storageEndpointSuffix: p.text({
    doc: 'Domain of the storage account, without `blob`, such as `core.private.cloud`; for `cloud: Private` only.',
    optional: true,
  }),
};

export default defineScaler<typeof params, EventHubClient, EventHubTrigger>({
  type: 'azure-eventhub',
  doc: 'Counts the events of an Azure event hub that a consumer group has not processed, by the checkpoints of its consumers. The count ends at one full replica for each partition; in a partition without a checkpoint every event counts.',
  testedWith: { kind: 'stub', with: 'an AMQP 1.0 server on rhea, and Azurite 3.35.0' },
  params,
  target: 'unprocessedEventThreshold',
  activation: 'activationUnprocessedEventThreshold',
  // What a consumer works on is behind no checkpoint yet.
  counts: 'waiting and in flight',
  resolve(values, context) {
    const { consumerGroup, checkpointStrategy, blobContainer } = values;
    const threshold = values.unprocessedEventThreshold;
    const place = eventHubPlace(values, context);
    const problems = 'problems' in place ? [...place.problems] : [];
    if (threshold <= 0) {
      const problem = `"${threshold}" is not a number of events per replica`;
      problems.push({
        problem,
        mending: 'use 1 or more',
        place: { field: 'metadata.unprocessedEventThreshold' },
      });
    }
    if (blobContainer === undefined && /^(goSdk|dapr|blobMetadata)$/.test(checkpointStrategy ?? '')) {
      const mending = `checkpointStrategy ${checkpointStrategy} needs it`;
      const field = 'metadata.blobContainer';
      problems.push({ problem: '"blobContainer" is missing', mending, place: { field } });
    }
    const matches = filterOf(values, problems);
    if ('problems' in place || problems.length > 0) return refuse(problems);
    const { written, storage } = place;
    const plan = checkpointPlan(checkpointStrategy, blobContainer, { ...written, group: consumerGroup });
    return {
      place,
      plan,
      threshold,
      activation: values.activationUnprocessedEventThreshold,
      stale: values.stalePartitionInfoThreshold,
      filter: matches && {
        key: JSON.stringify([accountIdentity(storage), plan, values.filter]),
        matches,
        group: values.filterConsumerGroup ?? consumerGroup,
        lookAhead: values.filterLookAhead,
      },
    };
  },
  metricName: ({ plan }) => normalizeMetricName(`azure-eventhub-${plan.group}`),
  endpoint: ({ place }) => eventHubIdentity(place.access),
  query: ({ place, plan, threshold, activation, stale, filter }) =>
    JSON.stringify([accountIdentity(place.storage), plan, threshold, activation, stale, filter]),
  open: async ({ place }, context) => new EventHubClient(place.access, context),
  read: readHub,
  readMany: readHubs,
  deliver: eventHubDelivery,
});

function filterOf(
  { filter, filterLookAhead }: ValuesOf<typeof params>,
  problems: Problem[],
): EventFilter | undefined {
  if (filterLookAhead < 1 || filterLookAhead > mostLookAhead) {
    const problem = `"${filterLookAhead}" is not a number of events to look at`;
    const mending = `use 1 to ${mostLookAhead}`;
    problems.push({ problem, mending, place: { field: 'metadata.filterLookAhead' } });
  }
  if (filter === undefined) return undefined;
  try {
    return compileEventFilter(filter);
  } catch (thrown) {
    const problem = `"${filter}" ${thrown instanceof Error ? thrown.message : String(thrown)}`;
    problems.push({ problem, place: { field: 'metadata.filter' } });
    return undefined;
  }
}
