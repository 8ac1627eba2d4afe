/** KEDA's normalisation of metric names: `/ . : % ( )` become `-`, everything else stays. */
export function normalizeMetricName(name: string): string {
  return name.replace(/[/.:%()]/g, '-');
}

/** The external metric name of a trigger, such as `s0-azure-queue-orders`. */
export function indexedMetricName(triggerIndex: number, base: string): string {
  return `s${triggerIndex}-${base}`;
}
