import { describe, expect, it } from 'vitest';
import { type KeptWorkload, keepWorkload, type ObjectWithStatus } from './workload-object.ts';

const metadata = { namespace: 'team', name: 'web', uid: 'u', resourceVersion: '5', generation: 2 };
const spec = { scaleTargetRef: { name: 'web' }, triggers: [{ type: 'cron', metadata: {} }] };
const object = (over: Partial<ObjectWithStatus> = {}): ObjectWithStatus => ({ metadata, spec, ...over });
const keep = (one: ObjectWithStatus, before?: KeptWorkload) =>
  keepWorkload('ScaledObject', one, { before, checkFormula: () => [] });
/** As it is once it was handed on. */
const told = (kept: KeptWorkload): KeptWorkload => ({ ...kept, fresh: undefined });

describe('what is kept of a ScaledObject', () => {
  it('is what it takes to write to it, and the workload until that is handed on', () => {
    const kept = keep(object({ status: { hpaName: 'h' } }));

    expect(kept).toMatchObject({
      key: 'ScaledObject/team/web',
      version: 5,
      generation: 2,
      status: '{"hpaName":"h"}',
      finalizers: [],
      labelled: false,
      deleting: false,
      fresh: {
        ok: true,
        workload: { uid: 'u', generation: 2, labels: { 'scaledobject.keda.sh/name': 'web' } },
      },
    });
  });

  it.each<[string, Partial<ObjectWithStatus>, boolean]>([
    ['a new status', { status: { hpaName: 'h' } }, false],
    ['a new version alone', { metadata: { ...metadata, resourceVersion: '6' } }, false],
    ['our finalizer', { metadata: { ...metadata, finalizers: ['finalizer.keda.sh'] } }, false],
    ['our label', { metadata: { ...metadata, labels: { 'scaledobject.keda.sh/name': 'web' } } }, false],
    ['another label', { metadata: { ...metadata, labels: { team: 'blue' } } }, true],
    [
      'an annotation',
      { metadata: { ...metadata, annotations: { 'autoscaling.keda.sh/paused': 'true' } } },
      true,
    ],
    ['a new generation', { metadata: { ...metadata, generation: 3 } }, true],
    ['another object of its name', { metadata: { ...metadata, uid: 'v' } }, true],
  ])('is read again for %s: %s', (_title, over, isRead) => {
    const kept = keep(object(over), told(keep(object())));

    expect(kept.fresh !== undefined).toBe(isRead);
  });

  it('keeps what was not handed on yet', () => {
    const first = keep(object());

    expect(keep(object({ status: { hpaName: 'h' } }), first).fresh).toBe(first.fresh);
  });

  it('says in a sentence what is wrong, with the field', () => {
    const { fresh } = keep(object({ spec: { ...spec, minReplicaCount: 5, maxReplicaCount: 2 } }));

    expect(fresh).toMatchObject({ ok: false, message: expect.stringMatching(/^spec\.\S+: .*5/) });
  });

  it('runs an object with a field that it does not know, and says so', () => {
    const { fresh } = keep(object({ spec: { ...spec, fromTheFuture: 1 } }));

    expect(fresh).toMatchObject({
      ok: true,
      notices: [{ problem: expect.stringContaining('fromTheFuture') }],
    });
  });
});
