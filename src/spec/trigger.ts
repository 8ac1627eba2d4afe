import { given } from './given.ts';
import { triggerMetadata, triggerType } from './loose.ts';
import { type Infer, s } from './schema.ts';
import type { Trigger } from './workload.ts';

/** The reference to the credentials of a trigger or an event destination. */
export const authenticationRef = s.object(
  {
    name: s.text({ required: true, doc: 'The name of the TriggerAuthentication.' }),
    kind: s.choice(['TriggerAuthentication', 'ClusterTriggerAuthentication'], {
      doc: 'TriggerAuthentication unless given.',
    }),
  },
  { doc: 'Where the credentials come from.' },
);

const common = {
  type: triggerType,
  metadata: triggerMetadata,
  name: s.text({ doc: 'Names the trigger for scalingModifiers and in metrics; unique in its object.' }),
  useCachedMetrics: s.bool({
    doc: 'Answer the HPA with the value of the last poll. Not for cpu, memory and cron.',
  }),
  authenticationRef,
};

const metricType = s.choice(['AverageValue', 'Value', 'Utilization'], {
  choicesNotInCrd: true,
  doc: 'What the target is compared with: AverageValue (default), Value, or for cpu and memory Utilization.',
});

const triggersDoc = {
  required: true,
  minItems: 1,
  doc: 'What scaling depends on; the highest demand wins.',
} as const;

/** `triggers` of a ScaledObject. */
export const scaledObjectTriggers = s.list(s.object({ ...common, metricType }, {}), triggersDoc);

/** `triggers` of a ScaledJob, which has no metricType. */
export const scaledJobTriggers = s.list(s.object(common, {}), triggersDoc);

type Declared = Infer<typeof scaledObjectTriggers>[number] | Infer<typeof scaledJobTriggers>[number];

/** Numbers the triggers and applies KEDA's defaults to each. */
export function triggersOf(declared: readonly Declared[]): Trigger[] {
  return declared.map((trigger, index) => {
    const reference = trigger.authenticationRef;
    return {
      index,
      type: trigger.type,
      metadata: trigger.metadata.texts,
      secrets: trigger.metadata.secrets,
      useCachedMetrics: trigger.useCachedMetrics ?? false,
      ...given({
        name: trigger.name === '' ? undefined : trigger.name,
        metricType: 'metricType' in trigger ? trigger.metricType : undefined,
        authenticationRef:
          reference === undefined
            ? undefined
            : { name: reference.name, kind: reference.kind ?? ('TriggerAuthentication' as const) },
      }),
    };
  });
}
