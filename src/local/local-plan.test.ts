import { describe, expect, it } from 'vitest';
import { readManifest, taskManifest, webManifest } from '../../test/laptop.ts';
import { formatProblem } from '../spec/problem.ts';
import { laptopProblems } from './laptop.ts';

function problemsOf(manifest: string, images: ReadonlyMap<string, string> = new Map()) {
  const { documents, workloads } = readManifest(manifest, '/app');
  const { problems, notices } = laptopProblems(documents, workloads, images);
  return { problems: problems.map(formatProblem), notices: notices.map(formatProblem) };
}
const imageOnly = webManifest('x').replace(/command: .*/, '');

describe('what stands in the way on a laptop', () => {
  it('is nothing for containers with commands', () => {
    expect(problemsOf(webManifest('x') + taskManifest('x').replace(/^/, '---\n'))).toEqual({
      problems: [],
      notices: [],
    });
  });

  it.each([
    [
      'an image that is not pulled',
      imageOnly,
      '/app/app.yaml:11:11: spec.template.spec.containers[0].command: container "app" has no command, and its image is not pulled here: give it a command, or say where to run it: --image none=DIR or the annotation eventide.dev/run-in: DIR',
    ],
    [
      'a target that is in no file',
      webManifest('x').replace('scaleTargetRef: { name: web', 'scaleTargetRef: { name: wbe'),
      'Deployment "wbe", which ScaledObject "web" scales, is not in these files: name the file that holds it too',
    ],
    [
      'a Secret that is in no file',
      webManifest('x', {
        container: 'env: [{ name: A, valueFrom: { secretKeyRef: { name: db, key: k } } }]',
      }),
      'spec.template.spec.containers[0].env[0].valueFrom: there is no Secret "db" in these files',
    ],
    [
      'a ConfigMap for envFrom that is in no file',
      webManifest('x', { container: 'envFrom: [{ configMapRef: { name: settings } }]' }),
      'spec.template.spec.containers[0].envFrom[0]: there is no ConfigMap "settings" in these files',
    ],
    [
      'a Secret for a volume that is in no file',
      taskManifest('x', { pod: 'volumes: [{ name: keys, secret: { secretName: keys } }]' }),
      'spec.jobTargetRef.template.spec.volumes[0]: there is no Secret "keys" in these files',
    ],
    [
      'a field that no pod has',
      webManifest('x', { container: 'env: [{ name: A, valueFrom: { fieldRef: { fieldPath: spec.x } } }]' }),
      'a pod has no field "spec.x" to take a value from',
    ],
  ])('is %s, said with its place', (_title, manifest, problem) => {
    const { problems } = problemsOf(manifest);

    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(problem);
  });

  it.each([
    ['by its name', 'none'],
    ['by its name with the tag', 'none:1'],
  ])('is no image whose directory was named %s, when that says how to start', (_title, image) => {
    const manifest = imageOnly.replace('image: none', `image: none:1`);
    const root = new URL('../..', import.meta.url).pathname;

    expect(problemsOf(manifest, new Map([[image, root]])).problems).toEqual([]);
    expect(problemsOf(manifest, new Map([[image, '/no/such/folder']])).problems[0]).toContain(
      'is to run in /no/such/folder, which is not a directory',
    );
  });
});

describe('what is left out on a laptop', () => {
  it.each([
    [
      'limits',
      webManifest('x', { container: 'resources: { limits: { cpu: 1 } }' }),
      'limits are not enforced',
    ],
    ['probes', webManifest('x', { container: 'readinessProbe: {}' }), 'readinessProbe is not asked'],
    ['hooks', webManifest('x', { container: 'lifecycle: { preStop: {} }' }), 'preStop is not run here'],
    [
      'an autoscaler that only a cluster has',
      webManifest('x').replace('scaleTargetRef:', 'eventide: { autoscaler: hpa }, scaleTargetRef:'),
      'there is no HorizontalPodAutoscaler here; its algorithm is computed by eventide itself',
    ],
    ['parallelism', taskManifest('x', { job: 'parallelism: 3' }), 'parallelism is taken for 1'],
    ['a missing restartPolicy', taskManifest('x', { restartPolicy: 'Always' }), 'Never is taken'],
    [
      'kinds that do not run',
      `${webManifest('x')}---\napiVersion: batch/v1\nkind: CronJob\nmetadata: { name: c }\n`,
      'a CronJob is not run here',
    ],
  ])('is told of %s', (_title, manifest, notice) => {
    const { problems, notices } = problemsOf(manifest);

    expect(problems).toEqual([]);
    expect(notices).toHaveLength(1);
    expect(notices[0]).toContain(notice);
    expect(notices[0]).toContain('/app/app.yaml:');
  });
});
