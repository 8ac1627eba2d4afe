import { s } from './schema.ts';

/** The conditions an object of ours may have. */
export type ConditionType = 'Ready' | 'Active' | 'Fallback' | 'Paused' | 'HPAActive';

/** The reasons of a ScaledObject's conditions, in KEDA's spelling. */
export const scaledObjectReasons = {
  Ready: [
    'ScaledObjectReady',
    'ScaledObjectCheckFailed',
    'ErrorGettingCurrentReplicas',
    'PartialTriggerError',
    'TriggerError',
  ],
  Active: ['ScalerActive', 'ScalerNotActive', 'ScalerCooldown', 'UnknownState'],
  Fallback: ['FallbackExists', 'NoFallbackFound'],
  Paused: ['ScaledObjectPaused', 'ScaledObjectUnpaused'],
  /** Besides these the reason of the HPA itself. */
  HPAActive: ['HPAActive', 'ScalingDisabled', 'HPAMetricsUnavailable'],
} as const satisfies Record<ConditionType, readonly string[]>;

/** The reasons of a ScaledJob's conditions, in KEDA's spelling. Its Fallback stays Unknown. */
export const scaledJobReasons = {
  Ready: ['ScaledJobReady', 'ScaledJobCheckFailed', 'PartialTriggerError', 'TriggerError'],
  Active: ['ScalerActive', 'ScalerNotActive', 'UnknownState'],
  Paused: ['ScaledJobPaused', 'ScaledJobUnpaused'],
} as const satisfies Partial<Record<ConditionType, readonly string[]>>;

type Reasons<R> = R[keyof R] extends readonly (infer T)[] ? T : never;
export type ScaledObjectReason = Reasons<typeof scaledObjectReasons>;
export type ScaledJobReason = Reasons<typeof scaledJobReasons>;

/** `status.conditions`: type and status, no time of the last change. */
export const conditions = s.list(
  s.object(
    {
      type: s.text({ required: true, doc: 'Ready, Active, Fallback, Paused or HPAActive.' }),
      status: s.text({ required: true, doc: 'True, False or Unknown.' }),
      reason: s.text({ doc: 'One word for machines.' }),
      message: s.text({ doc: 'A sentence for people.' }),
    },
    {},
  ),
  { doc: 'How it is.' },
);

/** `status.triggersActivity`, by metric name. */
export const triggersActivity = s.map(s.object({ isActive: s.bool({}) }, {}), {
  doc: 'Which metrics were active at the last reading.',
});
