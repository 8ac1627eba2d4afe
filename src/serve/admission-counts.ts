export type AdmissionAction = 'create' | 'update';

/** How often something was counted with these labels. */
export interface AdmissionCount {
  namespace: string;
  action: AdmissionAction;
  /** KEDA's word for the broken rule; absent where validations are counted. */
  reason?: string;
  count: number;
}

/** More label sets than these are not counted: whoever can send reviews must not fill the memory. */
const mostCounts = 20_000;

/** What the admission webhooks of KEDA count: validations of ScaledObjects, and what refused them. */
export class AdmissionCounts {
  readonly #counts = new Map<string, AdmissionCount>();

  validated(namespace: string, action: AdmissionAction): void {
    this.#add(`${namespace} ${action}`, { namespace, action, count: 0 });
  }

  /** @param reason as in keda_webhook_scaled_object_validation_errors_total */
  refused(namespace: string, action: AdmissionAction, reason: string): void {
    this.#add(`${namespace} ${action} ${reason}`, { namespace, action, reason, count: 0 });
  }

  *validations(): Iterable<AdmissionCount> {
    for (const each of this.#counts.values()) if (each.reason === undefined) yield each;
  }

  *errors(): Iterable<AdmissionCount> {
    for (const each of this.#counts.values()) if (each.reason !== undefined) yield each;
  }

  #add(key: string, fresh: AdmissionCount): void {
    const known = this.#counts.get(key);
    if (known === undefined && this.#counts.size >= mostCounts) return;
    const counted = known ?? fresh;
    counted.count += 1;
    if (known === undefined) this.#counts.set(key, counted);
  }
}
