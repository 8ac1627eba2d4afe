import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { type SecretStores, secretStores } from '../auth/stores.ts';
import { type Tokens, tokenSource } from '../auth/token-source.ts';
import type { Clock } from '../base/clock.ts';
import type { HttpOptions } from '../base/http.ts';
import { Secret } from '../base/secret.ts';

const environment = process.env;

/** The environment of this process, for what it starts. */
export function hostEnvironment(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}

/** HTTP as this machine wants it: through its proxy, where the usual variables name one. */
export function hostHttp(): HttpOptions {
  const pick = (name: string) => environment[name.toLowerCase()] || environment[name.toUpperCase()];
  const [http, https, no] = ['http_proxy', 'https_proxy', 'no_proxy'].map(pick);
  if (http === undefined && https === undefined) return {};
  return {
    proxy: {
      ...(http === undefined ? {} : { http }),
      ...(https === undefined ? {} : { https }),
      ...(no === undefined ? {} : { no }),
    },
  };
}

/** Tokens and keys of the identities this process was given, by the variables that their providers' libraries know. */
export function hostTokens(clock: Clock, http: HttpOptions): Tokens {
  const awsEndpoint = environment['AWS_ENDPOINT_URL'];
  return tokenSource({
    clock,
    http,
    azure: given({
      clientId: environment['AZURE_CLIENT_ID'],
      tenantId: environment['AZURE_TENANT_ID'],
      federatedTokenFile: environment['AZURE_FEDERATED_TOKEN_FILE'],
      authorityHost: environment['AZURE_AUTHORITY_HOST'],
    }),
    aws: given({
      accessKeyId: environment['AWS_ACCESS_KEY_ID'],
      secretAccessKey: secret('AWS_SECRET_ACCESS_KEY'),
      sessionToken: secret('AWS_SESSION_TOKEN'),
      webIdentityTokenFile: environment['AWS_WEB_IDENTITY_TOKEN_FILE'],
      roleArn: environment['AWS_ROLE_ARN'],
      roleSessionName: environment['AWS_ROLE_SESSION_NAME'],
      containerUri: environment['AWS_CONTAINER_CREDENTIALS_FULL_URI'],
      containerPath: environment['AWS_CONTAINER_CREDENTIALS_RELATIVE_URI'],
      containerTokenFile: environment['AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE'],
      containerToken: secret('AWS_CONTAINER_AUTHORIZATION_TOKEN'),
      metadataEndpoint: environment['AWS_EC2_METADATA_SERVICE_ENDPOINT'],
      metadataDisabled: environment['AWS_EC2_METADATA_DISABLED']?.toLowerCase() === 'true',
      region: environment['AWS_REGION'] || environment['AWS_DEFAULT_REGION'],
      stsEndpoint: environment['AWS_ENDPOINT_URL_STS'] || awsEndpoint,
    }),
    google: given({
      credentialsFile: environment['GOOGLE_APPLICATION_CREDENTIALS'] || gcloudFile(),
      metadataHost: environment['GCE_METADATA_HOST'],
      project: environment['CLOUDSDK_CORE_PROJECT'],
    }),
  });
}

/** Secret stores, and what the operator was told of them, by the variables that their libraries know. */
export function hostStores(clock: Clock, http: HttpOptions, tokens: Tokens): SecretStores {
  return secretStores({
    clock,
    http,
    tokens,
    vault: given({ address: environment['VAULT_ADDR'], token: secret('VAULT_TOKEN') }),
    aws: given({
      region: environment['AWS_REGION'] || environment['AWS_DEFAULT_REGION'],
      secretsManagerEndpoint:
        environment['AWS_ENDPOINT_URL_SECRETS_MANAGER'] || environment['AWS_ENDPOINT_URL'],
    }),
    google: given({
      secretManagerEndpoint: environment['CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER'],
    }),
  });
}

/** What is not set is left out. */
function given<T extends object>(values: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T;
}

function secret(name: string): Secret | undefined {
  const value = environment[name];
  return value ? new Secret(value) : undefined;
}

/** Where `gcloud auth application-default login` leaves the credentials of a person, on a laptop. */
function gcloudFile(): string | undefined {
  const file = join(homedir(), '.config', 'gcloud', 'application_default_credentials.json');
  return existsSync(file) ? file : undefined;
}
