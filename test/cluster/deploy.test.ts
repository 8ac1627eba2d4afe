import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { type ClusterObject, clusterOf, type Manifest } from './bed.ts';

const text = await readFile(new URL('../../deploy/eventide.yaml', import.meta.url), 'utf8');
const manifests = parseAllDocuments(text).map(document => document.toJS() as Manifest);

clusterOf('deploy/eventide.yaml', {}, cluster => {
  beforeAll(async () => {
    await cluster().apply(text);
  }, 60_000);

  it('can be applied again, over itself', async () => {
    const applied = await cluster().apply(text);

    expect(applied).toHaveLength(manifests.length);
  }, 60_000);

  it('runs one pod, which is ready', async () => {
    const deployment = await cluster().waitFor(
      '/apis/apps/v1/namespaces/keda/deployments/eventide',
      object => object?.['status']?.readyReplicas === 1,
    );

    expect(deployment?.['spec'].template.spec.serviceAccountName).toBe('keda-operator');
  }, 60_000);

  it('leads its Services to ports of that pod', () => {
    const find = (kind: string) => manifests.filter(each => each.kind === kind) as ClusterObject[];
    const [pod] = find('Deployment').map(({ spec }) => spec.template);
    const ports = pod.spec.containers[0].ports as { name: string; containerPort: number }[];
    const leads = find('Service').map(({ metadata, spec }) => [
      metadata.name,
      spec.selector,
      spec.ports.map(
        ({ port, targetPort }: { port: number; targetPort: string }) =>
          `${port} to ${ports.find(({ name }) => name === targetPort)?.containerPort}`,
      ),
    ]);

    expect(pod.metadata.labels).toMatchObject({ app: 'eventide' });
    expect(leads).toEqual([
      ['keda-operator', { app: 'eventide' }, ['8080 to 8080']],
      ['keda-metrics-apiserver', { app: 'eventide' }, ['443 to 6443', '8080 to 8080']],
      ['keda-admission-webhooks', { app: 'eventide' }, ['443 to 9443', '8080 to 8080']],
    ]);
  });

  it('has a webhook for each kind, on a path of its own', () => {
    const configuration = manifests.find(({ kind }) => kind === 'ValidatingWebhookConfiguration');
    const webhooks = configuration?.['webhooks'] as {
      clientConfig: { service: { path: string } };
      rules: { apiGroups: string[]; resources: string[] }[];
    }[];

    expect(
      webhooks.map(({ clientConfig, rules: [rule] }) => [
        `${rule?.resources[0]}.${rule?.apiGroups[0]}`,
        clientConfig.service.path,
      ]),
    ).toEqual([
      ['scaledobjects.keda.sh', '/validate-keda-sh-v1alpha1-scaledobject'],
      ['scaledjobs.keda.sh', '/validate-keda-sh-v1alpha1-scaledjob'],
      ['triggerauthentications.keda.sh', '/validate-keda-sh-v1alpha1-triggerauthentication'],
      ['clustertriggerauthentications.keda.sh', '/validate-keda-sh-v1alpha1-clustertriggerauthentication'],
      ['cloudeventsources.eventing.keda.sh', '/validate-eventing-keda-sh-v1alpha1-cloudeventsource'],
      [
        'clustercloudeventsources.eventing.keda.sh',
        '/validate-eventing-keda-sh-v1alpha1-clustercloudeventsource',
      ],
    ]);
  });

  describe('the operator', () => {
    interface Deed {
      verb: string;
      group?: string;
      resource: string;
      subresource?: string;
      namespace?: string;
      name?: string;
    }

    const may = async (deed: Deed, user = 'system:serviceaccount:keda:keda-operator') => {
      const path = '/apis/authorization.k8s.io/v1/subjectaccessreviews';
      const [, namespace] = /^system:serviceaccount:([^:]+):/.exec(user) ?? [];
      const groups = namespace === undefined ? [] : ['system:serviceaccounts', 'system:authenticated'];
      const spec = { user, groups, resourceAttributes: { version: '*', ...deed } };
      const body = { apiVersion: 'authorization.k8s.io/v1', kind: 'SubjectAccessReview', spec };
      const answer = await cluster().request('POST', path, { body });
      return (answer.body as { status: { allowed: boolean } }).status.allowed;
    };

    it.each<Deed>([
      { verb: 'patch', group: 'keda.sh', resource: 'scaledobjects', subresource: 'status', namespace: 'a' },
      { verb: 'patch', group: 'example.com', resource: 'widgets', subresource: 'scale', namespace: 'a' },
      { verb: 'watch', group: 'argoproj.io', resource: 'rollouts', namespace: 'a' },
      { verb: 'create', group: 'batch', resource: 'jobs', namespace: 'a' },
      { verb: 'update', resource: 'secrets', namespace: 'keda', name: 'kedaorg-certs' },
      {
        verb: 'update',
        group: 'coordination.k8s.io',
        resource: 'leases',
        namespace: 'keda',
        name: 'operator.keda.sh',
      },
      { verb: 'create', group: 'authorization.k8s.io', resource: 'subjectaccessreviews' },
      {
        verb: 'get',
        resource: 'configmaps',
        namespace: 'kube-system',
        name: 'extension-apiserver-authentication',
      },
    ])('may $verb $group/$resource/$subresource', async deed => {
      await expect.poll(() => may(deed), { timeout: 10_000 }).toBe(true);
    });

    it.each<Deed>([
      { verb: 'update', resource: 'secrets', namespace: 'keda', name: 'another' },
      { verb: 'delete', resource: 'secrets', namespace: 'a' },
      { verb: 'create', resource: 'pods', namespace: 'a' },
      { verb: 'create', resource: 'pods', subresource: 'exec', namespace: 'a' },
      { verb: 'patch', group: 'apps', resource: 'deployments', namespace: 'a' },
      { verb: 'delete', group: 'keda.sh', resource: 'scaledobjects', namespace: 'a' },
      { verb: 'get', resource: 'nodes', subresource: 'proxy' },
      { verb: 'create', resource: 'serviceaccounts', subresource: 'token', namespace: 'a' },
      {
        verb: 'update',
        group: 'coordination.k8s.io',
        resource: 'leases',
        namespace: 'kube-system',
        name: 'kube-scheduler',
      },
      {
        verb: 'patch',
        group: 'apiregistration.k8s.io',
        resource: 'apiservices',
        name: 'v1beta1.metrics.k8s.io',
      },
      { verb: 'get', group: 'example.com', resource: 'widgets', namespace: 'a' },
    ])('may not $verb $group/$resource/$subresource', async deed => {
      expect(await may(deed)).toBe(false);
    });

    it('lets the controller of HorizontalPodAutoscalers read metrics, and nobody else', async () => {
      const deed = {
        verb: 'list',
        group: 'external.metrics.k8s.io',
        resource: 's0-prometheus',
        namespace: 'a',
      };

      expect(await may(deed, 'system:serviceaccount:kube-system:horizontal-pod-autoscaler')).toBe(true);
      expect(await may(deed, 'system:serviceaccount:a:default')).toBe(false);
    });
  });
});
