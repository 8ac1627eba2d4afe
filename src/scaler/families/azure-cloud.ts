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

/** Where namespaces of Event Hubs and Service Bus live in each of Azure's clouds. */
const busDomains: Readonly<Record<string, string>> = {
  AZURECLOUD: 'servicebus.windows.net',
  AZUREPUBLICCLOUD: 'servicebus.windows.net',
  AZUREUSGOVERNMENT: 'servicebus.usgovcloudapi.net',
  AZUREUSGOVERNMENTCLOUD: 'servicebus.usgovcloudapi.net',
  AZURECHINACLOUD: 'servicebus.chinacloudapi.cn',
  AZUREGERMANCLOUD: 'servicebus.cloudapi.de',
};

/**
 * The domain of a storage service, such as `queue.core.windows.net`. As in KEDA, `endpointSuffix` counts only
 * together with `cloud: Private`, and the public cloud is meant where no cloud is named.
 */
export function storageSuffix(service: 'queue' | 'blob', values: CloudValues): string | Problem {
  const own = `${service}.core.private.cloud`;
  const domain = domainIn(storageDomains, values, own);
  return typeof domain !== 'string' || isPrivateCloud(values.cloud) ? domain : `${service}.${domain}`;
}

/** The domain of Event Hubs and Service Bus, such as `servicebus.windows.net`; of its clouds as above. */
export function busSuffix(values: CloudValues): string | Problem {
  return domainIn(busDomains, values, 'servicebus.private.cloud');
}

interface CloudValues {
  cloud: string | undefined;
  endpointSuffix: string | undefined;
}

function domainIn(
  domains: Readonly<Record<string, string>>,
  { cloud, endpointSuffix }: CloudValues,
  example: string,
): string | Problem {
  if (isPrivateCloud(cloud)) {
    return (
      endpointSuffix ?? {
        problem: '"endpointSuffix" is missing',
        mending: `cloud Private needs it, such as ${example}`,
        place: { field: 'metadata.endpointSuffix' },
      }
    );
  }
  return (
    domains[(cloud ?? 'AzurePublicCloud').toUpperCase()] ?? {
      problem: `"${cloud}" is not a cloud of Azure`,
      mending: 'use AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, AzureGermanCloud or Private',
      place: { field: 'metadata.cloud' },
    }
  );
}
