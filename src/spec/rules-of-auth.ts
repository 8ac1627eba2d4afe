import { type Rule, rule } from './rule.ts';

const authentications = ['TriggerAuthentication', 'ClusterTriggerAuthentication'] as const;
const identity = (field: string) => ['spec', 'podIdentity', field];

/** The rules of authentications and event sources. */
export const rulesOfAuth: readonly Rule[] = [
  rule({
    name: 'azure-identity',
    kinds: authentications,
    *check({ spec: { podIdentity: pod } }) {
      if (pod?.provider !== 'azure-workload') return;
      if (pod.identityId === '') {
        yield {
          problem: 'identityId is empty',
          mending: 'leave it out or set it',
          path: identity('identityId'),
        };
      }
      if (pod.identityAuthorityHost && !pod.identityTenantId) {
        const problem = 'identityAuthorityHost needs identityTenantId';
        yield { problem, mending: 'set identityTenantId too', path: identity('identityAuthorityHost') };
      } else if (pod.identityTenantId === '') {
        const problem = 'identityTenantId is empty';
        yield { problem, mending: 'leave it out or set it', path: identity('identityTenantId') };
      }
    },
  }),
  rule({
    name: 'aws-identity',
    kinds: authentications,
    *check({ spec: { podIdentity: pod } }) {
      if (pod?.provider !== 'aws') return;
      if (pod.roleArn && pod.identityOwner === 'workload') {
        const problem = 'roleArn cannot be set where the workload is identityOwner';
        yield { problem, mending: 'keep one of them', path: identity('roleArn') };
      }
      if (pod.externalID && !pod.roleArn) {
        const problem = 'externalID needs roleArn';
        yield { problem, mending: 'set roleArn too', path: identity('externalID') };
      }
    },
  }),
  rule({
    name: 'oauth2-complete',
    kinds: authentications,
    *check({ spec: { podIdentity: pod, oauth2 } }) {
      // KEDA looks at oauth2 only beside these identities or none at all.
      const looked = pod === undefined || pod.provider === 'azure-workload' || pod.provider === 'aws';
      if (oauth2 === undefined || !looked) return;
      if (oauth2.clientId === '')
        yield { problem: 'clientId is empty', path: ['spec', 'oauth2', 'clientId'] };
      const url = URL.canParse(oauth2.tokenUrl) ? new URL(oauth2.tokenUrl) : undefined;
      if (!url || !/^https?:$/.test(url.protocol) || url.host === '') {
        const problem = `"${oauth2.tokenUrl}" is not an http or https URL`;
        yield { problem, path: ['spec', 'oauth2', 'tokenUrl'] };
      }
    },
  }),
  rule({
    name: 'one-event-filter',
    kinds: ['CloudEventSource', 'ClusterCloudEventSource'],
    *check({ spec: { eventSubscription: filter = {} } }) {
      if (!filter.includedEventTypes?.length || !filter.excludedEventTypes?.length) return;
      const problem = 'includedEventTypes and excludedEventTypes cannot be used together';
      yield {
        problem,
        mending: 'keep one of them',
        path: ['spec', 'eventSubscription', 'excludedEventTypes'],
      };
    },
  }),
];
