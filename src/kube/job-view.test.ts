import { describe, expect, it } from 'vitest';
import { type JobObject, jobOf, type KeptJob, viewJob, viewPod } from './job-view.ts';

const metadata = {
  namespace: 'team',
  name: 'j',
  uid: 'u',
  resourceVersion: '12',
  creationTimestamp: '2026-01-01T00:00:00Z',
  labels: { 'scaledjob.keda.sh/name': 'work' },
};
const view = (status: JobObject['status'], over: object = {}): KeptJob => {
  const kept = viewJob({ metadata: { ...metadata, ...over }, ...(status && { status }) });
  if (kept === undefined) throw new Error('it is a Job of ours');
  return kept;
};
const ended = (type: string, status = 'True') => ({
  type,
  status,
  lastTransitionTime: '2026-01-01T00:01:00Z',
});

describe('what is kept of a Job', () => {
  it.each([
    ['nothing has begun', {}, 'pending', undefined],
    ['a pod is ready', { ready: 1 }, 'running', undefined],
    [
      'it is complete',
      { conditions: [ended('Complete')], completionTime: '2026-01-01T00:00:30Z' },
      'succeeded',
      30_000,
    ],
    ['it failed', { conditions: [ended('Failed')] }, 'failed', 60_000],
    ['it is about to fail', { ready: 1, conditions: [ended('FailureTarget')] }, 'running', undefined],
    ['it is not complete after all', { conditions: [ended('Complete', 'False')] }, 'pending', undefined],
  ])('says how it is when %s', (_title, status, state, finishedAfter) => {
    const kept = view(status);

    expect(kept.state).toBe(state);
    expect(kept.finishedAt && kept.finishedAt - kept.createdAt).toBe(finishedAfter);
  });

  it.each([
    ['no JSON', '{'],
    ['null', 'null'],
    ['something else', '{"a":1}'],
  ])('takes a task that somebody made into %s for none', (_title, text) => {
    expect(view({}, { annotations: { 'eventide.dev/task': text } }).task).toBeUndefined();
  });

  it('is nothing where no ScaledJob is named', () => {
    expect(viewJob({ metadata: { ...metadata, labels: {} } })).toBeUndefined();
  });

  it('belongs to its owner, whatever the label says', () => {
    const ownerReferences = [
      { apiVersion: 'keda.sh/v1alpha1', kind: 'ScaledJob', name: 'long', uid: 'o', controller: true },
    ];

    expect(view({}, { ownerReferences })).toMatchObject({ workload: 'ScaledJob/team/long', ownerUid: 'o' });
  });
});

describe('a Job with its pods', () => {
  const complete = [{ type: 'Complete', status: 'True' }];
  const pod = (phase: string) => ({ namespace: 'team', job: 'j', phase, conditions: ['PodScheduled'] });

  it.each([
    ['pending, where no pod runs', [pod('Pending')], 'pending'],
    ['running, where one does', [pod('Pending'), pod('Running')], 'running'],
    ['running, where one has succeeded and the Job does not know', [pod('Succeeded')], 'running'],
  ])('is %s', (_title, pods, state) => {
    const job = jobOf(view({}), pods);

    expect(job.state).toBe(state);
    expect(job.pods).toEqual(pods.map(({ phase, conditions }) => ({ phase, conditions })));
  });

  it.each([
    ['has worked, where its one pod succeeded', { completions: 1 }, {}, true],
    ['has not, where that was one of several', { completions: 2 }, {}, undefined],
    ['has not, where its pods decide when it is over', {}, {}, undefined],
    ['has finished, where it says so itself', { completions: 1 }, { conditions: complete }, undefined],
  ])('%s', (_title, spec, status, worked) => {
    const kept = viewJob({ metadata, spec, status }) as KeptJob;

    expect(jobOf(kept, undefined, true).worked).toBe(worked);
  });

  it('has a stand-in for the pods that nobody watches, so that it does not count as pending', () => {
    expect(jobOf(view({ ready: 1 }), undefined).pods).toEqual([{ phase: 'Running', conditions: ['Ready'] }]);
    expect(jobOf(view({}), undefined).pods).toEqual([]);
  });

  it('keeps of a pod its phase and the conditions that are true', () => {
    const labels = { 'batch.kubernetes.io/job-name': 'j' };
    const conditions = [
      { type: 'Ready', status: 'False' },
      { type: 'PodScheduled', status: 'True' },
    ];

    expect(viewPod({ metadata: { ...metadata, labels }, status: { phase: 'Pending', conditions } })).toEqual({
      namespace: 'team',
      job: 'j',
      phase: 'Pending',
      conditions: ['PodScheduled'],
    });
  });
});
