/** Which domain a region is in, by the start of its name; those of the partitions that AWS' own libraries know. */
const domains: readonly [prefix: string, domain: string][] = [
  ['cn-', 'amazonaws.com.cn'],
  ['eusc-', 'amazonaws.eu'],
  ['us-iso-', 'c2s.ic.gov'],
  ['us-isob-', 'sc2s.sgov.gov'],
  ['us-isof-', 'csp.hci.ic.gov'],
  ['eu-isoe-', 'cloud.adc-e.uk'],
  ['', 'amazonaws.com'],
];

/**
 * The address of a service of AWS, such as `https://sqs.eu-west-1.amazonaws.com`. A region comes from manifests and
 * becomes part of a host name: what is not one must not lead elsewhere.
 *
 * @returns undefined for what is no region
 */
export function awsServiceUrl(service: string, region: string): string | undefined {
  if (!/^[a-z]{2}[a-z0-9-]{1,30}$/.test(region)) return undefined;
  const [, domain] = domains.find(([prefix]) => region.startsWith(prefix)) ?? [];
  return `https://${service}.${region}.${domain}`;
}
