import process from 'node:process';
import { type Tokens, tokenSource } from '../auth/token-source.ts';
import type { Clock } from '../base/clock.ts';
import type { HttpOptions } from '../base/http.ts';

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

/** Tokens of the identity this process was given, by the variables that workload identity sets. */
export function hostTokens(clock: Clock, http: HttpOptions): Tokens {
  const azure = {
    clientId: environment['AZURE_CLIENT_ID'],
    tenantId: environment['AZURE_TENANT_ID'],
    federatedTokenFile: environment['AZURE_FEDERATED_TOKEN_FILE'],
    authorityHost: environment['AZURE_AUTHORITY_HOST'],
  };
  const given = Object.fromEntries(Object.entries(azure).filter(([, value]) => value !== undefined));
  return tokenSource({ clock, http, azure: given });
}
