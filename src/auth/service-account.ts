import { Fault } from '../base/errors.ts';
import { lentFor } from '../base/keeper.ts';
import type { Secret } from '../base/secret.ts';
import type { Lookup } from './lookup.ts';
import { recordOf, textOf } from './provider-answer.ts';
import type { StoreAsk } from './stores.ts';

/** One parameter that gets a service account's token. */
export interface TokenReference {
  parameter: string;
  serviceAccountName: string;
}

/**
 * Parameters from tokens of service accounts: `boundServiceAccountToken`. They are for the API server, end after an
 * hour unless the operator was told another time, and are renewed before.
 *
 * @throws Fault AUTH_MISSING, AUTH_FAILED, or NOT_SUPPORTED outside a cluster
 */
export async function fromServiceAccounts(
  references: readonly TokenReference[],
  ask: StoreAsk,
): Promise<Record<string, Secret>> {
  const found: Record<string, Secret> = {};
  for (const { parameter, serviceAccountName } of references) {
    found[parameter] = await serviceAccountToken(ask.namespace, serviceAccountName, ask);
  }
  return found;
}

/**
 * A token of a service account, shared by all who want one of it.
 *
 * @throws Fault AUTH_MISSING, AUTH_FAILED, or NOT_SUPPORTED outside a cluster
 */
export async function serviceAccountToken(
  namespace: string,
  name: string,
  { stores, references, lookup, signal, doubt }: StoreAsk,
): Promise<Secret> {
  const lent = await stores.grants.get(`serviceaccount ${namespace}/${name}`, {
    host: 'the API server',
    signal,
    doubt,
    async fetch(stop) {
      const askedAt = stores.clock.now();
      const { token, endsAt } = await references.serviceAccountToken(namespace, name, stop);
      return lentFor(token, askedAt, endsAt - askedAt);
    },
  });
  lookup.renewBy(lent.renewAt);
  return lent.value;
}

const roleAnnotation = 'eks.amazonaws.com/role-arn';

/**
 * The role of AWS that a workload's own pods have, by the annotation of their service account.
 *
 * @param template the pod template of the workload; undefined where it has none
 * @returns undefined where the service account has no such annotation
 * @throws Fault AUTH_MISSING where there is no template or no such service account
 */
export async function workloadRole(
  template: unknown,
  namespace: string,
  lookup: Lookup,
): Promise<string | undefined> {
  const spec = recordOf(recordOf(template)?.['spec']);
  if (spec === undefined) {
    throw new Fault(
      'AUTH_MISSING',
      "the workload has no pod template, so its pods' ServiceAccount is not known",
    );
  }
  const name = textOf(spec['serviceAccountName']) ?? 'default';
  const annotations = await lookup.serviceAccount(namespace, name);
  if (annotations === undefined) {
    throw new Fault('AUTH_MISSING', `there is no ServiceAccount "${name}" in namespace "${namespace}"`);
  }
  return annotations.get(roleAnnotation) || undefined;
}

/** The same, which must be there. @throws Fault AUTH_MISSING */
export async function requireWorkloadRole(
  template: unknown,
  namespace: string,
  lookup: Lookup,
): Promise<string> {
  const role = await workloadRole(template, namespace, lookup);
  if (role !== undefined) return role;
  const sentence = `the ServiceAccount of the workload's pods in namespace "${namespace}" has no annotation`;
  throw new Fault(
    'AUTH_MISSING',
    `${sentence} ${roleAnnotation}, which names the role of identityOwner workload`,
  );
}
