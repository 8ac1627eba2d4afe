import type { ResourceScaler } from '../define.ts';
import { p } from '../params.ts';

/** The declaration that the cpu and memory triggers share: the pods' use of one resource. */
export function defineResource(type: 'cpu' | 'memory', unit: string): ResourceScaler {
  return {
    type,
    kind: 'resource',
    doc: `The ${type} that the target's pods use. It never scales to zero by itself: a workload with no pod uses nothing.`,
    testedWith: { kind: 'real', with: 'Kubernetes 1.36.3, the use of its pods made up' },
    params: {
      value: p.text({
        doc: `Percent of the request (metricType Utilization) or ${unit} per pod (AverageValue).`,
      }),
      containerName: p.text({
        doc: 'The one container whose use counts; all of the pod unless given.',
        optional: true,
      }),
      type: p.text({ doc: 'The old place of metricType.', removed: 'use metricType of the trigger instead' }),
    },
  };
}
