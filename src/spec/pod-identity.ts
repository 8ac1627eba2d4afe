/** The pod identity of a TriggerAuthentication (KEDA's `podIdentity`). */
export interface PodIdentity {
  provider: 'none' | 'azure-workload' | 'aws' | 'aws-eks' | 'gcp';
  identityId?: string;
  identityTenantId?: string;
  identityAuthorityHost?: string;
  roleArn?: string;
  externalID?: string;
  identityOwner?: 'keda' | 'workload';
}

export const noIdentity: PodIdentity = { provider: 'none' };
