import { stringify } from 'yaml';

/**
 * Annotations of a pod (of a pod template) that say how it fares on the fake kubelet. Durations are Go's
 * (`20s`). Without them a pod runs and is ready at once, and one of a Job succeeds at once.
 */
export const podAnnotations = {
  /** How long it is Pending on its node. */
  start: 'bed/start',
  /** How long a pod of a Job runs before it ends. */
  work: 'bed/work',
  /** How a pod ends: `succeed` (Jobs' pods, by default), `fail` (any pod), `never`. */
  outcome: 'bed/outcome',
} as const;

interface Match {
  key: string;
  operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  values?: string[];
}

interface Stage {
  name: string;
  kind: 'Pod' | 'Node';
  when: Match[];
  /** The annotation that delays it. */
  after?: string;
  next: { delete: true } | { statusTemplate: string };
}

const alive: Match = { key: '.metadata.deletionTimestamp', operator: 'DoesNotExist' };
const annotation = (name: string) => `.metadata.annotations["${name}"]`;
const phase = (value: string): Match => ({ key: '.status.phase', operator: 'In', values: [value] });

const stages: Stage[] = [
  {
    // KWOK looks after no node, and so no pod, unless something could happen to nodes. Nothing does.
    name: 'node',
    kind: 'Node',
    when: [{ key: annotation('bed/never'), operator: 'Exists' }],
    next: { statusTemplate: '' },
  },
  {
    name: 'run',
    kind: 'Pod',
    when: [alive, phase('Pending')],
    after: podAnnotations.start,
    next: { statusTemplate: runningStatus() },
  },
  {
    name: 'succeed',
    kind: 'Pod',
    when: [
      alive,
      phase('Running'),
      { key: '.metadata.ownerReferences.[].kind', operator: 'In', values: ['Job'] },
      { key: annotation(podAnnotations.outcome), operator: 'NotIn', values: ['fail', 'never'] },
    ],
    after: podAnnotations.work,
    next: { statusTemplate: endedStatus('Succeeded') },
  },
  {
    name: 'fail',
    kind: 'Pod',
    when: [
      alive,
      phase('Running'),
      { key: annotation(podAnnotations.outcome), operator: 'In', values: ['fail'] },
    ],
    after: podAnnotations.work,
    next: { statusTemplate: endedStatus('Failed') },
  },
  {
    name: 'delete',
    kind: 'Pod',
    when: [{ key: '.metadata.deletionTimestamp', operator: 'Exists' }],
    next: { delete: true },
  },
];

/** KWOK's configuration: what happens to the pods on its nodes. */
export function fakeKubeletConfig(): string {
  return stages
    .map(({ name, kind, when, after, next }) =>
      stringify({
        apiVersion: 'kwok.x-k8s.io/v1alpha1',
        kind: 'Stage',
        metadata: { name },
        spec: {
          resourceRef: { apiGroup: 'v1', kind },
          selector: { matchExpressions: when },
          ...(after !== undefined && {
            delay: { durationMilliseconds: 0, durationFrom: { expressionFrom: annotation(after) } },
          }),
          next,
        },
      }),
    )
    .join('---\n');
}

/** A node that takes 10,000 pods; its status is written once, as nothing watches over its heartbeat. */
export function fakeNode(name: string): object {
  const resources = { cpu: '10k', memory: '10Ti', pods: '10000', 'ephemeral-storage': '10Ti' };
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels: { 'kubernetes.io/hostname': name, 'kubernetes.io/os': 'linux' } },
    status: {
      allocatable: resources,
      capacity: resources,
      conditions: [{ type: 'Ready', status: 'True', reason: 'KubeletReady', message: 'it is a fake' }],
    },
  };
}

function runningStatus(): string {
  return `
{{ $now := Now }}
phase: Running
startTime: {{ $now | Quote }}
${conditions(['Initialized', 'ContainersReady', 'Ready'], 'True')}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  started: true
  restartCount: 0
  state:
    running:
      startedAt: {{ $now | Quote }}
{{ end }}
`;
}

function endedStatus(ended: 'Succeeded' | 'Failed'): string {
  const [exitCode, reason] = ended === 'Succeeded' ? [0, 'Completed'] : [1, 'Error'];
  return `
{{ $now := Now }}
phase: ${ended}
${conditions(['ContainersReady', 'Ready'], 'False')}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  started: false
  restartCount: 0
  state:
    terminated:
      exitCode: ${exitCode}
      reason: ${reason}
      startedAt: {{ $now | Quote }}
      finishedAt: {{ $now | Quote }}
{{ end }}
`;
}

function conditions(types: string[], status: 'True' | 'False'): string {
  const items = types.map(
    type => `- type: ${type}\n  status: "${status}"\n  lastTransitionTime: {{ $now | Quote }}`,
  );
  return `conditions:\n${items.join('\n')}`;
}
