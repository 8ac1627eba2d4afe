import { expect, it } from 'vitest';
import { httpServer } from '../../../test/misbehaving-http.ts';
import { openContext } from '../../../test/scaler-contract.ts';
import { Secret } from '../../base/secret.ts';
import type { PodIdentity } from '../../spec/pod-identity.ts';
import type { OpenContext, TokenSource } from '../context.ts';
import { openAws } from './aws-client.ts';
import { openBusAdmin } from './azure-bus-admin.ts';
import { openStorage } from './azure-storage.ts';
import { openManagement } from './rabbitmq-management.ts';

const signal = AbortSignal.timeout(10_000);
const at = { signal, now: 0 };
const azure: PodIdentity = { provider: 'azure-workload' };
const expired = '{"__type":"ExpiredTokenException","message":"The security token included is expired"}';

/** Asks the server at `url` once, as whoever `context` says. */
type Asking = (url: string, context: OpenContext) => Promise<unknown>;

it.each<[string, number, string, Asking]>([
  [
    'Azure Storage',
    401,
    '<Error><Code>InvalidAuthenticationInfo</Code></Error>',
    async (endpoint, context) => {
      const account = { service: 'queue', connection: undefined, endpoint, scope: 'storage' } as const;
      await using client = openStorage(account, context);
      return await client.send({ method: 'GET', path: ['orders'] }, at);
    },
  ],
  [
    'the administration of Service Bus',
    401,
    '<Error><Code>401</Code><Detail>ExpiredToken</Detail></Error>',
    async (adminUrl, context) => {
      const credential = { kind: 'identity', scope: 'bus' } as const;
      const access = { host: 'bus', port: 5671, plain: false, adminUrl, credential };
      await using admin = openBusAdmin(access, context);
      return await admin.ask([{ kind: 'one', topic: undefined, name: 'orders' }], at);
    },
  ],
  [
    'the management of RabbitMQ',
    401,
    '{"error":"not_authorized"}',
    async (base, context) => {
      const http = { headers: {}, identity: '' };
      const access = { protocol: 'http', base, vhost: '%2F', http, resource: 'api://rabbit' } as const;
      await using management = openManagement(access, context);
      return await management.ask([{ vhost: '%2F', queueName: 'orders', matching: undefined }], at);
    },
  ],
  [
    'AWS',
    400,
    expired,
    async (url, context) => {
      await using client = openAws({ region: 'eu-west-1', url, service: 'sqs', who: {} }, '1.0', context);
      return await client.call({ action: 'AmazonSQS.ListQueues', input: {}, what: 'queues', ...at });
    },
  ],
])('%s that does not accept a token is asked with a new one, once', async (_name, status, body, ask) => {
  const seen: unknown[] = [];
  await using server = await httpServer((req, res) => {
    seen.push(req.headers['x-amz-security-token'] ?? req.headers.authorization);
    res.writeHead(status).end(body);
  });
  let given = 1;
  const refused: unknown[] = [];
  const token = () => new Secret(`token-${given}`);
  const tokens: TokenSource = {
    accessToken: async () => token(),
    googleToken: async () => token(),
    awsCredentials: async () => ({
      accessKeyId: 'A',
      secretAccessKey: new Secret('x'),
      sessionToken: token(),
    }),
    refused(grant) {
      refused.push(grant);
      given += 1;
    },
  };

  const outcome = await ask(server.url, openContext(signal, { identity: azure, tokens })).catch(String);

  expect(seen.map(each => String(each).replace('Bearer ', ''))).toEqual(['token-1', 'token-2']);
  expect(refused).toHaveLength(1);
  expect(JSON.stringify(outcome)).not.toContain('token-');
});
