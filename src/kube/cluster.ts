import type { References } from '../auth/references.ts';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Job, World } from '../engine/ports.ts';
import type { ScaledObject, Workload } from '../spec/workload.ts';
import { authenticationWatch } from './authentication-watch.ts';
import type { Authentications } from './authentications.ts';
import { kubeAutoscalers } from './autoscalers.ts';
import type { KubeClient } from './client.ts';
import { kubeDiscovery } from './discovery.ts';
import { kubeLifecycle } from './lifecycle.ts';
import { kubeReferences } from './references.ts';
import { kubeResourceUse } from './resource-use.ts';
import { ClusterSurroundings } from './surroundings.ts';
import { kubeTargets } from './targets.ts';
import type { FormulaCheck } from './workload-object.ts';
import type { Remembered } from './workloads.ts';

export interface ClusterOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  /** What `app.kubernetes.io/version` of what we make says. */
  version: string;
  /** Who we are among the replicas of the operator, such as the name of its pod. */
  instance: string;
  /** The namespaces that are looked at; all unless given. */
  namespaces?: readonly string[];
  /** Only ScaledObjects and ScaledJobs with these labels are run. */
  labelSelector?: string;
  /** Only TriggerAuthentications with these labels are looked at. */
  authLabelSelector?: string;
  /** Where ClusterTriggerAuthentications find their Secrets. */
  clusterNamespace: string;
  /** Read Secrets of `clusterNamespace` only. */
  restrictSecrets: boolean;
  /** How long tokens of ServiceAccounts live, in milliseconds. */
  tokenLifeMs: number;
  checkFormula: FormulaCheck;
  /** A workload is there to be run, or a version of it with something in it that matters. */
  onSet(workload: Workload, remembered: Remembered): void;
  /** A workload is not to be run any more. What is returned is awaited before its target is restored. */
  onRemove(workloadKey: string): Promise<void>;
  /** A workload's target has other replicas, or its autoscaler is another than it was. */
  onTarget(workloadKey: string): void;
  onAutoscaler(workloadKey: string): void;
  onJob(workloadKey: string, job: Job): void;
  onJobGone(workloadKey: string, jobName: string): void;
  /** An object that triggers may get credentials from was edited. */
  onReference(kind: string, namespace: string, name: string): void;
}

/** The world as a cluster: everything that the engine needs of it. */
export interface Cluster extends World, AsyncDisposable {
  readonly references: References;
  /** What is around an object, for the rules of admission. */
  readonly surroundings: ClusterSurroundings;
  /** Whether all that there is is known. */
  readonly synced: boolean;
  /** Ends when it is. @throws the signal's reason */
  whenSynced(signal: AbortSignal): Promise<void>;
  /** How many objects of kinds other than workloads there are. */
  registered: Authentications['registered'];
  /** From now on it is ours to write. To be called once it is synced. */
  lead(): void;
  /** Writes what waits to be written. @throws the signal's reason */
  flush(signal: AbortSignal): Promise<void>;
}

/** Begins to follow what there is; writes nothing before `lead`, except what the engine asks for. */
export function createCluster(options: ClusterOptions): Cluster {
  const { client, clock, log, version, namespaces } = options;
  const shared = { client, clock, log, ...(namespaces === undefined ? {} : { namespaces }) };
  const discovery = kubeDiscovery({ client, clock });
  const targets = kubeTargets({
    ...shared,
    discovery,
    onChange: options.onTarget,
    onSpec: key => references.targetChanged(key),
  });
  const autoscalers = kubeAutoscalers({ ...shared, version, onChange: options.onAutoscaler });
  const authentications = authenticationWatch({ ...shared, labelSelector: options.authLabelSelector });
  const references = kubeReferences({
    ...shared,
    authentications,
    discovery,
    clusterNamespace: options.clusterNamespace,
    restrictSecrets: options.restrictSecrets,
    tokenLifeMs: options.tokenLifeMs,
    onChange: options.onReference,
  });
  const { readResource } = kubeResourceUse({ client, targets });
  const surroundings = new ClusterSurroundings({
    client,
    clock,
    autoscalersByTarget: autoscalers.byTarget,
    checkFormula: options.checkFormula,
  });
  let synced = false;

  const lifecycle = kubeLifecycle({
    ...shared,
    authentications,
    version,
    instance: options.instance,
    ...(options.labelSelector === undefined ? {} : { labelSelector: options.labelSelector }),
    checkFormula: options.checkFormula,
    onSet(workload, remembered) {
      if (workload.kind === 'ScaledObject') {
        targets.use(workload);
        surroundings.set(workload);
      }
      options.onSet(workload, remembered);
    },
    onUnfit(workload) {
      if (workload.kind === 'ScaledObject') surroundings.set(workload);
    },
    async onRemove(key) {
      surroundings.remove(key);
      await options.onRemove(key);
      references.forget(key);
      targets.drop(key);
      autoscalers.drop(key);
    },
    onJob: options.onJob,
    onJobGone: options.onJobGone,
    restore: targets.setReplicas,
    facts: factsOf,
  });

  function factsOf(workload: ScaledObject) {
    const target = targets.describe(workload);
    const hpaName = autoscalers.nameOf(workload.key);
    return { ...(target === undefined ? {} : { target }), ...(hpaName === undefined ? {} : { hpaName }) };
  }

  return {
    readTarget: targets.readTarget,
    setReplicas: targets.setReplicas,
    ensureAutoscaler: autoscalers.ensureAutoscaler,
    readResource,
    listJobs: lifecycle.listJobs,
    createJob: lifecycle.createJob,
    updateTask: lifecycle.updateTask,
    deleteJob: lifecycle.deleteJob,
    report: lifecycle.report,
    registered: lifecycle.registered,
    references,
    surroundings,
    get synced() {
      return synced;
    },
    async whenSynced(signal) {
      await Promise.all([
        lifecycle.whenSynced(signal),
        autoscalers.whenSynced(signal),
        references.whenSynced(signal),
      ]);
      // Which targets there are to be followed is known by the workloads.
      await targets.whenSynced(signal);
      synced = true;
    },
    lead: lifecycle.lead,
    flush: lifecycle.flush,
    async [Symbol.asyncDispose]() {
      await lifecycle[Symbol.asyncDispose]();
      await Promise.all(
        [targets, autoscalers, references, authentications].map(each => each[Symbol.asyncDispose]()),
      );
    },
  };
}
