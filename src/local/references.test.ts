import { describe, expect, it } from 'vitest';
import { readDocuments } from '../spec/documents.ts';
import type { Workload } from '../spec/workload.ts';
import { localReferences } from './references.ts';

const { documents } = readDocuments(
  `
apiVersion: v1
kind: Secret
metadata: { name: db }
data: { user: YWRh, password: b2xk }
stringData: { password: new }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: settings, namespace: shop }
data: { colour: red }
binaryData: { shape: cm91bmQ= }
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: { name: queue }
spec: { secretTargetRef: [{ parameter: password, name: db, key: password }] }
---
apiVersion: keda.sh/v1alpha1
kind: ClusterTriggerAuthentication
metadata: { name: everywhere }
spec: { env: [{ parameter: host, name: HOST }] }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: orders, annotations: { eks.amazonaws.com/role-arn: 'arn:aws:iam::1:role/orders' } }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: plain }
---
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: web }
spec: { template: { spec: { containers: [{ name: app }] } } }
`,
  'app.yaml',
);
const references = localReferences(documents);
const signal = new AbortController().signal;
const target = (kind: string) =>
  ({
    kind: 'ScaledObject',
    namespace: 'default',
    target: { apiVersion: 'apps/v1', kind, name: 'web' },
  }) as Workload;

describe('localReferences', () => {
  it('decodes the data of a Secret, and lets stringData win', async () => {
    const secret = await references.secret('default', 'db', signal);

    expect([...(secret ?? [])].map(([key, value]) => [key, value.reveal()])).toEqual([
      ['user', 'ada'],
      ['password', 'new'],
    ]);
  });

  it('reads data and binaryData of a ConfigMap in its namespace only', async () => {
    const there = await references.configMap('shop', 'settings', signal);
    const elsewhere = await references.configMap('default', 'settings', signal);

    expect(Object.fromEntries(there ?? [])).toEqual({ colour: 'red', shape: 'round' });
    expect(elsewhere).toBeUndefined();
  });

  it('tells a TriggerAuthentication from one of the cluster', async () => {
    const own = await references.triggerAuthentication('default', 'queue', signal);
    const cluster = await references.triggerAuthentication(undefined, 'everywhere', signal);

    expect(own?.secretTargetRef?.[0]?.name).toBe('db');
    expect(cluster?.env?.[0]?.name).toBe('HOST');
    expect(await references.triggerAuthentication('default', 'everywhere', signal)).toBeUndefined();
  });

  it('knows the annotations of service accounts, and has no tokens of them', async () => {
    const annotated = await references.serviceAccount('default', 'orders', signal);
    const plain = await references.serviceAccount('default', 'plain', signal);
    const missing = await references.serviceAccount('shop', 'orders', signal);
    const token = references.serviceAccountToken('default', 'orders', signal);

    expect(Object.fromEntries(annotated ?? [])).toEqual({
      'eks.amazonaws.com/role-arn': 'arn:aws:iam::1:role/orders',
    });
    expect(plain?.size).toBe(0);
    expect(missing).toBeUndefined();
    await expect(token).rejects.toMatchObject({
      code: 'NOT_SUPPORTED',
      message: 'there is no cluster here to give a token of ServiceAccount "orders" in namespace "default"',
    });
  });

  it('finds the pod template of a target by its kind', async () => {
    const found = await references.podTemplate(target('StatefulSet'), signal);

    expect(found).toEqual({ spec: { containers: [{ name: 'app' }] } });
    expect(await references.podTemplate(target('Deployment'), signal)).toBeUndefined();
  });

  it('takes the pod template of a ScaledJob from the ScaledJob itself', async () => {
    const job = { kind: 'ScaledJob', jobTargetRef: { template: { spec: {} } } } as unknown as Workload;

    expect(await references.podTemplate(job, signal)).toEqual({ spec: {} });
  });
});
