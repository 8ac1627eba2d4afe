import { describe, expect, it } from 'vitest';
import { documentOf } from '../spec/documents.ts';
import { parseScaledJob } from '../spec/scaled-job.ts';
import type { ScaledJob } from '../spec/workload.ts';
import { jobObject, taskSecret, templateDigest } from './job-object.ts';
import { viewJob } from './job-view.ts';

interface Given {
  name?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  spec?: Record<string, unknown>;
  job?: Record<string, unknown>;
}

function scaledJob({
  name = 'work',
  labels = {},
  annotations = {},
  spec = {},
  job = {},
}: Given = {}): ScaledJob {
  const containers = [{ name: 'main', image: 'none' }];
  const parsed = parseScaledJob(
    documentOf({
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'ScaledJob',
      metadata: { namespace: 'team', name, uid: 'u1', generation: 3, labels, annotations },
      spec: {
        jobTargetRef: { ...job, template: { spec: { containers, ...spec } } },
        triggers: [{ type: 'cron', metadata: {} }],
      },
    }),
  );
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return parsed.value;
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into objects of any kind
const made = (workload: ScaledJob, request = {}): any => jobObject(workload, { env: {}, ...request }, '1.0');
const task = {
  hash: 'h',
  attempt: 1,
  triggerIndex: 0,
  triggerType: 't',
  queueId: 'q',
  messages: [{ id: '1', receipt: 'r' }],
  claimedAt: 1,
};
const carrying = { name: 'work-h-1', env: { KEDA_TASK_ID: '1' }, task };

describe('a Job of a ScaledJob', () => {
  it('is as KEDA makes it', () => {
    const job = made(scaledJob({ job: { backoffLimit: 2 } }));

    expect(job).toEqual({
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: {
        namespace: 'team',
        generateName: 'work-',
        labels: {
          'app.kubernetes.io/name': 'work',
          'app.kubernetes.io/version': '1.0',
          'app.kubernetes.io/part-of': 'work',
          'app.kubernetes.io/managed-by': 'keda-operator',
          'scaledjob.keda.sh/name': 'work',
        },
        annotations: { 'scaledjob.keda.sh/generation': '3', 'eventide.dev/template': expect.any(String) },
        ownerReferences: [
          {
            apiVersion: 'keda.sh/v1alpha1',
            kind: 'ScaledJob',
            name: 'work',
            uid: 'u1',
            controller: true,
            blockOwnerDeletion: true,
          },
        ],
      },
      spec: {
        backoffLimit: 2,
        template: {
          metadata: { generateName: 'work-', labels: { 'scaledjob.keda.sh/name': 'work' } },
          spec: { restartPolicy: 'OnFailure', containers: [{ name: 'main', image: 'none' }] },
        },
      },
    });
  });

  it.each([
    ['takes over labels', { labels: { a: '1' } }, { a: '1' }],
    [
      'leaves out labels that are excluded, untrimmed',
      { labels: { a: '1', b: '2' }, annotations: { 'scaledjob.keda.sh/job-excluded-labels': 'a, b' } },
      { b: '2' },
    ],
    [
      'lets labels of the ScaledJob win',
      { labels: { 'app.kubernetes.io/name': 'mine' } },
      { 'app.kubernetes.io/name': 'mine' },
    ],
  ])('%s', (_title, given: Given, labels) => {
    const job = made(scaledJob(given));

    expect(job.metadata.labels).toMatchObject(labels);
    expect(job.metadata.labels['a'] ?? '').toBe(labels['a' as keyof typeof labels] ?? '');
  });

  it('takes over annotations, but not what kubectl wrote about the ScaledJob', () => {
    const job = made(
      scaledJob({ annotations: { a: '1', 'kubectl.kubernetes.io/last-applied-configuration': '{}' } }),
    );

    expect(Object.keys(job.metadata.annotations).sort()).toEqual([
      'a',
      'eventide.dev/template',
      'scaledjob.keda.sh/generation',
    ]);
  });

  it('leaves a restart policy that is given', () => {
    const job = made(scaledJob({ spec: { restartPolicy: 'Never' } }));

    expect(job.spec.template.spec.restartPolicy).toBe('Never');
  });

  it('shortens a name that no label can hold, and keeps two of them apart', () => {
    const [one, two] = [`${'a'.repeat(70)}1`, `${'a'.repeat(70)}2`].map(
      name => made(scaledJob({ name })).metadata.labels['scaledjob.keda.sh/name'],
    );

    expect(one.length).toBeLessThanOrEqual(63);
    expect(one).not.toBe(two);
  });

  it('has the same digest for the same template, and another for another', () => {
    const digests = [
      scaledJob(),
      scaledJob({ labels: { a: '1' } }),
      scaledJob({ job: { backoffLimit: 1 } }),
    ].map(templateDigest);

    expect(digests[0]).toBe(digests[1]);
    expect(digests[0]).not.toBe(digests[2]);
  });
});

describe('a Job that carries messages', () => {
  it('keeps the task, under its own name, and is held until that is settled', () => {
    const job = made(scaledJob(), carrying);

    expect(job.metadata).toMatchObject({ name: 'work-h-1', finalizers: ['eventide.dev/task'] });
    expect(job.metadata.generateName).toBeUndefined();
    expect(JSON.parse(job.metadata.annotations['eventide.dev/task'])).toEqual(task);
  });

  it('gives every container the variables first, so that its own may refer to them, and ours win', () => {
    const own = [
      { name: 'ID', value: '$(KEDA_TASK_ID)' },
      { name: 'KEDA_TASK_ID', value: 'theirs' },
    ];
    const spec = { containers: [{ name: 'main', env: own }], initContainers: [{ name: 'first' }] };

    const { containers, initContainers } = made(scaledJob({ spec }), carrying).spec.template.spec;

    expect(containers[0].env).toEqual([{ name: 'KEDA_TASK_ID', value: '1' }, own[0]]);
    expect(initContainers[0].env).toEqual([{ name: 'KEDA_TASK_ID', value: '1' }]);
  });

  it.each([
    ['$', '$$'],
    ['$$', '$$$$'],
    ['$(SECRET)', '$$(SECRET)'],
    ['$$(SECRET)', '$$$$(SECRET)'],
    ['5 $ & `$1`', '5 $$ & `$$1`'],
  ])('writes %s so that the kubelet hands on just that', (body, written) => {
    const job = made(scaledJob(), { ...carrying, env: { KEDA_TASK_DATA: body } });

    expect(job.spec.template.spec.containers[0].env[0].value).toBe(written);
    expect(written.replaceAll('$$', '$')).toBe(body);
  });

  it('mounts a file in every container, beside what they mount themselves', () => {
    const spec = {
      containers: [{ name: 'main', volumeMounts: [{ name: 'v', mountPath: '/v' }] }, { name: 'side' }],
      volumes: [{ name: 'v', emptyDir: {} }],
    };
    const file = { variable: 'KEDA_TASK_FILE', body: new Uint8Array([1]) };
    const workload = scaledJob({ spec });

    const job = made(workload, { ...carrying, file });
    const secret = taskSecret(workload, 'work-h-1', file.body);

    const pod = job.spec.template.spec;
    expect(pod.volumes).toMatchObject([{ name: 'v' }, { secret: { secretName: secret.metadata.name } }]);
    for (const { volumeMounts, env } of pod.containers) {
      const mount = volumeMounts.at(-1);
      expect(mount.name).toBe(pod.volumes[1].name);
      expect(env).toContainEqual({ name: 'KEDA_TASK_FILE', value: `${mount.mountPath}/body` });
    }
    expect(pod.containers[0].volumeMounts).toHaveLength(2);
    expect(secret['data']).toEqual({ body: 'AQ==' });
  });

  it('is read back as what it was made from', () => {
    const job = made(scaledJob(), carrying);

    const kept = viewJob({ ...job, metadata: { ...job.metadata, uid: 'j', resourceVersion: '7' } });

    expect(kept).toMatchObject({
      workload: 'ScaledJob/team/work',
      ownerUid: 'u1',
      name: 'work-h-1',
      state: 'pending',
      generation: 3,
      task,
      finalizerAt: 0,
      deleting: false,
    });
  });
});
