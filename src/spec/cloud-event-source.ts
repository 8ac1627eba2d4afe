import { conditions } from './conditions.ts';
import type { ManifestDocument } from './documents.ts';
import { parseObject } from './object-meta.ts';
import { type Infer, s } from './schema.ts';
import { authenticationRef } from './trigger.ts';
import type { Parsed } from './workload.ts';

/** The CloudEvents that can be subscribed to. */
export const cloudEventTypes = [
  'keda.scaledobject.ready.v1',
  'keda.scaledobject.failed.v1',
  'keda.scaledobject.removed.v1',
  'keda.scaledobject.paused.v1',
  'keda.scaledobject.unpaused.v1',
  'keda.scaledjob.ready.v1',
  'keda.scaledjob.failed.v1',
  'keda.scaledjob.removed.v1',
  'keda.scaledjob.paused.v1',
  'keda.scaledjob.unpaused.v1',
  'keda.scaledjob.rolloutcleanup.started.v1',
  'keda.scaledjob.rolloutcleanup.completed.v1',
  'keda.scaledjob.rolloutcleanup.failed.v1',
  'keda.authentication.triggerauthentication.created.v1',
  'keda.authentication.triggerauthentication.updated.v1',
  'keda.authentication.triggerauthentication.removed.v1',
  'keda.authentication.clustertriggerauthentication.created.v1',
  'keda.authentication.clustertriggerauthentication.updated.v1',
  'keda.authentication.clustertriggerauthentication.removed.v1',
] as const;

const eventTypes = (doc: string) => s.list(s.choice(cloudEventTypes, {}), { doc });

/** `spec` of a CloudEventSource and of a ClusterCloudEventSource. */
export const cloudEventSourceSpec = s.object(
  {
    clusterName: s.text({ doc: 'Names the cluster in the source of the events.' }),
    destination: s.object(
      {
        http: s.object(
          { uri: s.text({ required: true }) },
          { doc: 'Sent by HTTP; wins where both are given.' },
        ),
        azureEventGridTopic: s.object(
          { endpoint: s.text({ required: true }) },
          { doc: 'Sent to Azure Event Grid.' },
        ),
      },
      { required: true, doc: 'Where the events are sent.' },
    ),
    authenticationRef,
    eventSubscription: s.object(
      {
        includedEventTypes: eventTypes('Only these; all unless given.'),
        excludedEventTypes: eventTypes('All but these.'),
      },
      { doc: 'Which events are sent.' },
    ),
  },
  { doc: 'Which events are sent where.' },
);

/** `status` of both scopes. */
export const cloudEventSourceStatus = s.object({ conditions }, { doc: 'What became of it.' });

export type CloudEventSourceSpec = Infer<typeof cloudEventSourceSpec>;

/** A parsed CloudEventSource or ClusterCloudEventSource. */
export interface CloudEventSource {
  kind: 'CloudEventSource' | 'ClusterCloudEventSource';
  /** Undefined for a ClusterCloudEventSource. */
  namespace: string | undefined;
  name: string;
  spec: CloudEventSourceSpec;
}

/** Reads a CloudEventSource or, by the document's kind, a ClusterCloudEventSource. */
export function parseCloudEventSource(document: ManifestDocument): Parsed<CloudEventSource> {
  const cluster = document.kind === 'ClusterCloudEventSource';
  return parseObject(document, cloudEventSourceSpec, (spec, { namespace, name }) => ({
    kind: cluster ? 'ClusterCloudEventSource' : 'CloudEventSource',
    namespace: cluster ? undefined : namespace,
    name,
    spec,
  }));
}
