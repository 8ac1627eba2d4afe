import type { Problem } from '../../spec/problem.ts';

/** Where storage accounts live in each of Azure's clouds; names in upper case, as KEDA compares them. */
const storageDomains: Readonly<Record<string, string>> = {
  AZURECLOUD: 'core.windows.net',
  AZUREPUBLICCLOUD: 'core.windows.net',
  AZUREUSGOVERNMENT: 'core.usgovcloudapi.net',
  AZUREUSGOVERNMENTCLOUD: 'core.usgovcloudapi.net',
  AZURECHINACLOUD: 'core.chinacloudapi.cn',
  AZUREGERMANCLOUD: 'core.cloudapi.de',
};

/** Whether a trigger names a cloud of its own, whose domain it then has to say. */
export const isPrivateCloud = (cloud: string | undefined) => cloud?.toLowerCase() === 'private';

/**
 * The domain of a storage service, such as `queue.core.windows.net`. As in KEDA, `endpointSuffix` counts only
 * together with `cloud: Private`, and the public cloud is meant where no cloud is named.
 */
export function storageSuffix(
  service: 'queue' | 'blob',
  { cloud, endpointSuffix }: { cloud: string | undefined; endpointSuffix: string | undefined },
): string | Problem {
  if (isPrivateCloud(cloud)) {
    return (
      endpointSuffix ?? {
        problem: '"endpointSuffix" is missing',
        mending: `cloud Private needs it, such as ${service}.core.private.cloud`,
        place: { field: 'metadata.endpointSuffix' },
      }
    );
  }
  const domain = storageDomains[(cloud ?? 'AzurePublicCloud').toUpperCase()];
  return domain === undefined
    ? {
        problem: `"${cloud}" is not a cloud of Azure`,
        mending: 'use AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, AzureGermanCloud or Private',
        place: { field: 'metadata.cloud' },
      }
    : `${service}.${domain}`;
}
