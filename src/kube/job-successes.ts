import { jobId } from './job-view.ts';
import type { KubeJobsOptions } from './jobs.ts';
import { marks } from './marks.ts';
import { type KubeObject, resources } from './objects.ts';
import { reflect } from './reflector.ts';

export interface JobSuccessesOptions
  extends Pick<KubeJobsOptions, 'client' | 'clock' | 'log' | 'namespaces' | 'random'> {
  /** A pod of this Job has succeeded, by `jobId`. */
  onSuccess(id: string): void;
}

/**
 * Watches for pods of ScaledJobs that succeed, and for no others. A Job says so itself about a second later: its
 * controller waits for more that might be to say.
 */
export function watchSuccesses(options: JobSuccessesOptions): AsyncDisposable {
  const { client, clock, log, onSuccess, random } = options;
  const watches = (options.namespaces ?? [undefined]).map(namespace =>
    reflect<KubeObject, string>({
      client,
      clock,
      log,
      resource: resources.pods,
      labelSelector: marks.scaledJobName,
      fieldSelector: 'status.phase=Succeeded',
      ...(namespace === undefined ? {} : { namespace }),
      ...(random === undefined ? {} : { random }),
      keep: jobOfPod,
      onSet(_key, id, before) {
        if (before === undefined) onSuccess(id);
      },
    }),
  );
  return {
    async [Symbol.asyncDispose]() {
      await Promise.all(watches.map(watch => watch[Symbol.asyncDispose]()));
    },
  };
}

function jobOfPod({ metadata }: KubeObject): string | undefined {
  const owner = metadata.ownerReferences?.find(each => each.controller && each.kind === 'Job');
  return owner && jobId({ namespace: metadata.namespace ?? '', name: owner.name, uid: owner.uid });
}
