import { awsServiceUrl } from '../base/aws-region.ts';
import { Fault } from '../base/errors.ts';

/** Where AWS is, from the operator's environment, by the names that AWS' own libraries know. */
export interface AwsPlace {
  /** AWS_REGION, or AWS_DEFAULT_REGION */
  region?: string;
  /** AWS_ENDPOINT_URL_STS, or AWS_ENDPOINT_URL */
  stsEndpoint?: string;
  /** AWS_ENDPOINT_URL_SECRETS_MANAGER, or AWS_ENDPOINT_URL */
  secretsManagerEndpoint?: string;
}

/** The address of a service. @throws Fault MANIFEST_INVALID for what is no region */
export function awsEndpoint(service: string, region: string): string {
  const url = awsServiceUrl(service, region);
  if (url !== undefined) return `${url}/`;
  throw new Fault('MANIFEST_INVALID', `"${region}" is not a region of AWS, such as eu-west-1`);
}

/** The text of the first element with this name, of AWS' flat XML answers; undefined where there is none. */
export function elementOf(xml: string, name: string): string | undefined {
  const found = new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1];
  return found?.replace(/&(lt|gt|quot|apos|amp);/g, (_entity, which: string) => entities[which] ?? '');
}

const entities: Readonly<Record<string, string>> = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' };
