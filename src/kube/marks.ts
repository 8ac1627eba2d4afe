/** What KEDA and we write into objects to find them again, or to hold them. */
export const marks = {
  /** On ScaledObjects, ScaledJobs and both kinds of TriggerAuthentication, as KEDA has it. */
  kedaFinalizer: 'finalizer.keda.sh',
  /** On a Job that carries messages, until they are settled. */
  taskFinalizer: 'eventide.dev/task',
  /** On such a Job: the Task as JSON. */
  task: 'eventide.dev/task',
  /** On a Job: a digest of the jobTargetRef it was made from. */
  template: 'eventide.dev/template',
  /** On a Job whose message is in a Secret: that Secret's name. */
  file: 'eventide.dev/task-secret',
  scaledObjectName: 'scaledobject.keda.sh/name',
  scaledJobName: 'scaledjob.keda.sh/name',
  /** Written by kubectl about the object it is on; it would be a lie on a copy. */
  lastApplied: 'kubectl.kubernetes.io/last-applied-configuration',
} as const;
