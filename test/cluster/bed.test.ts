import { expect, it } from 'vitest';
import { clusterOf } from './bed.ts';

clusterOf('the test bed', { hpaSyncSeconds: 1 }, cluster => {
  it('runs the pods of a Deployment', async () => {
    const namespace = await cluster().namespace();

    await cluster().apply(deployment('web', 3), namespace);

    const path = `/apis/apps/v1/namespaces/${namespace}/deployments/web`;
    await cluster().waitFor(path, web => web?.['status']?.readyReplicas === 3);
    const pods = await cluster().list(`/api/v1/namespaces/${namespace}/pods`);
    expect(pods.map(pod => pod['status'].phase)).toEqual(['Running', 'Running', 'Running']);
  });
});

function deployment(name: string, replicas: number) {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: { containers: [{ name, image: 'none', resources: { requests: { cpu: '100m' } } }] },
      },
    },
  };
}
