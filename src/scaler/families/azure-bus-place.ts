import { Fault } from '../../base/errors.ts';
import { compilePattern } from '../../base/pattern.ts';
import type { Secret } from '../../base/secret.ts';
import type { Problem } from '../../spec/problem.ts';
import type { ParamContext } from '../context.ts';
import { amqps, type BusAccess, busAt, readBusConnection } from './azure-bus-connection.ts';
import { busSuffix, isPrivateCloud } from './azure-cloud.ts';

/** What a trigger says of its namespace, once checked. */
export interface BusPlace {
  /** Undefined where a pod identity is used. */
  connection: Secret | undefined;
  /** The namespace's host under a pod identity. */
  host: string;
  /** What an access token is asked for. */
  scope: string;
}

/** What a trigger counts: one queue or subscription, or all whose names match. */
export interface BusEntityName {
  topic: string | undefined;
  name: string;
  matches: ((name: string) => boolean) | undefined;
}

interface PlaceValues {
  connection: Secret | undefined;
  namespace: string | undefined;
  cloud: string | undefined;
  endpointSuffix: string | undefined;
}

/**
 * Checks what KEDA checks: a connection string without pod identity, a namespace with one. The string itself is
 * looked into only when it is used, and the cloud only where it says where the namespace is.
 */
export function busPlace(
  values: PlaceValues,
  { podIdentity }: ParamContext,
): BusPlace | { problems: Problem[] } {
  const { connection, namespace } = values;
  switch (podIdentity.provider) {
    case 'none':
      return connection === undefined
        ? refused(
            'connection',
            '"connection" is missing',
            'looked in the TriggerAuthentication and connectionFromEnv',
          )
        : { connection, host: '', scope: '' };
    case 'azure-workload': {
      if (namespace === undefined) {
        return refused('namespace', '"namespace" is missing', 'a pod identity needs it');
      }
      const suffix = busSuffix(values);
      if (typeof suffix !== 'string') return { problems: [suffix] };
      const host = `${namespace}.${suffix}`;
      if (!/^[\w-]+$/.test(namespace) || !/^[\w.-]+(:\d{1,5})?$/.test(suffix)) {
        return refused(
          'namespace',
          `"${host}" is not the host of a namespace`,
          'give the first part of its name',
        );
      }
      // A private cloud's domain comes from the manifest: a token for that host alone is worth nothing elsewhere.
      const audience = isPrivateCloud(values.cloud) ? `https://${host}` : 'https://servicebus.azure.net';
      return { connection: undefined, host, scope: `${audience}/.default` };
    }
    default: {
      const problem = `pod identity ${podIdentity.provider} is not for Azure Service Bus`;
      const mending = 'use azure-workload or a connection string';
      return { problems: [{ problem, mending, place: { field: 'authenticationRef' } }] };
    }
  }
}

const refused = (name: string, problem: string, mending: string): { problems: Problem[] } => ({
  problems: [{ problem, mending, place: { field: `metadata.${name}` } }],
});

interface EntityValues {
  queueName: string | undefined;
  topicName: string | undefined;
  subscriptionName: string | undefined;
  useRegex: boolean | undefined;
}

/** A queue, or a topic with a subscription, and never both. */
export function busEntity(values: EntityValues): BusEntityName | { problems: Problem[] } {
  const { queueName, topicName, subscriptionName, useRegex = false } = values;
  if (queueName !== undefined) {
    if (topicName !== undefined) {
      return refused('topicName', 'both "queueName" and "topicName" are given', 'give one of them');
    }
    if (subscriptionName !== undefined) {
      return refused(
        'subscriptionName',
        'a queue has no subscriptions',
        'give "topicName" or no subscription',
      );
    }
    return entityNamed('queueName', { topic: undefined, name: queueName, useRegex });
  }
  if (topicName === undefined) {
    const mending = 'give "queueName", or "topicName" with "subscriptionName"';
    return refused('queueName', '"queueName" is missing', mending);
  }
  if (subscriptionName === undefined) {
    return refused('subscriptionName', '"subscriptionName" is missing', 'messages wait in subscriptions');
  }
  const wrong = wrongName('topicName', topicName);
  if (wrong !== undefined) return wrong;
  return entityNamed('subscriptionName', { topic: topicName, name: subscriptionName, useRegex });
}

function entityNamed(
  param: string,
  { topic, name, useRegex }: { topic: string | undefined; name: string; useRegex: boolean },
): BusEntityName | { problems: Problem[] } {
  if (!useRegex) return wrongName(param, name) ?? { topic, name, matches: undefined };
  try {
    return { topic, name, matches: wholeMatch(name) };
  } catch (thrown) {
    if (!(thrown instanceof Fault)) throw thrown;
    return refused(param, thrown.message, 'give an expression that Go’s regexp understands');
  }
}

/** As KEDA does: an expression must match the whole of a name. @throws Fault with the sentence of what is wrong */
function wholeMatch(expression: string): (name: string) => boolean {
  compilePattern(expression);
  const pattern = compilePattern(`\\A(?:${expression})\\z`);
  return name => pattern.test(name, () => {});
}

function wrongName(param: string, name: string): { problems: Problem[] } | undefined {
  const parts = name.split('/');
  if (/[\uD800-\uDFFF]/u.test(name) || parts.some(part => part === '' || part === '.' || part === '..')) {
    return refused(
      param,
      `"${name}" cannot be the name of a queue, topic or subscription`,
      'give its plain name',
    );
  }
  return undefined;
}

/**
 * Where the namespace is and what lets us in.
 *
 * @throws Fault PARAM_INVALID for a connection string that cannot be used
 */
export function busAccess({ connection, host, scope }: BusPlace): BusAccess {
  if (connection !== undefined) return readBusConnection(connection);
  const [name = '', port = amqps] = host.split(':');
  return busAt(name, Number(port), { kind: 'identity', scope });
}

/** What connections to a namespace are shared by; two keys of one namespace are two connections. */
export function busIdentity({ connection, host, scope }: BusPlace): string {
  return connection === undefined ? `${host} ${scope}` : `connection string ${connection.fingerprint()}`;
}
