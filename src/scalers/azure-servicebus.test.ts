import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { noTokens } from '../../test/no-tokens.ts';
import {
  bind,
  faultFrom,
  mustBind,
  openContext,
  readContext,
  readOnce,
  scalerContract,
} from '../../test/scaler-contract.ts';
import { type ServiceBus, startServiceBus } from '../../test/service-bus.ts';
import { Fault } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import { sharedAccessToken } from '../scaler/families/azure-event-hub-access.ts';
import { noIdentity } from '../spec/pod-identity.ts';
import scaler from './azure-servicebus.ts';

type Params = Parameters<typeof scaler.read>[0];

const now = Date.UTC(2026, 0, 15, 12);
const { signal } = new AbortController();
const workload = { ...noIdentity, provider: 'azure-workload' } as const;

let bus: ServiceBus;

beforeEach(async () => {
  bus = await startServiceBus({ now: () => now });
});

afterEach(() => bus[Symbol.asyncDispose]());

const given = (params: Record<string, string>, connection = bus.connectionString()) => ({
  params,
  auth: { connection },
});
const read = (params: Record<string, string>) => readOnce(mustBind(scaler, given(params)));

async function readMany(all: Record<string, string>[]): Promise<unknown[]> {
  const bound = all.map(params => mustBind(scaler, given(params)).params as Params);
  const [first] = bound;
  if (first === undefined || scaler.readMany === undefined) return [];
  await using conn = await scaler.open(first, openContext(signal));
  const answers = await scaler.readMany(bound, readContext(conn, signal));
  return answers.map(answer => (answer instanceof Fault ? answer.code : answer));
}

describe('counting', () => {
  it('counts the active messages of a queue, and neither scheduled nor dead-lettered ones', async () => {
    const queue = bus.addQueue('orders');
    for (const text of ['one', 'two', 'bad']) bus.send(queue, text);
    const [bad] = queue.messages.splice(2);
    if (bad !== undefined) queue.deadLetters.push({ ...bad, reason: undefined, description: undefined });

    expect(await read({ queueName: 'orders' })).toBe(2);
  });

  it('counts those of a subscription, and of a queue with slashes in its name', async () => {
    bus.addSubscription('news', 'mine', { counts: { active: 4 } });
    bus.addQueue('shop/orders', { counts: { active: 9 } });

    expect(await read({ topicName: 'news', subscriptionName: 'mine' })).toBe(4);
    expect(await read({ queueName: 'shop/orders' })).toBe(9);
  });

  it.each([
    ['sum', 10],
    ['max', 7],
    ['avg', 3],
  ])('makes the %s of all queues whose whole name matches', async (operation, expected) => {
    bus.addQueue('tasks-a', { counts: { active: 7 } });
    bus.addQueue('tasks-b', { counts: { active: 3 } });
    bus.addQueue('tasks-c', { counts: { active: 0 } });
    bus.addQueue('old-tasks-a', { counts: { active: 100 } });
    bus.addQueue('tasks-a-old', { counts: { active: 100 } });

    expect(await read({ queueName: 'tasks-(a|b|c)', useRegex: 'true', operation })).toBe(expected);
  });

  it('matches subscriptions of one topic only, as long as they can be made to', async () => {
    bus.addSubscription('news', 'ab', { counts: { active: 1 } });
    bus.addSubscription('news', 'a', { counts: { active: 2 } });
    bus.addSubscription('others', 'ab', { counts: { active: 100 } });

    expect(await read({ topicName: 'news', subscriptionName: 'a|ab', useRegex: 'true' })).toBe(3);
  });

  it('reads a list of many pages to its end', async () => {
    for (let number = 0; number < 250; number += 1) bus.addQueue(`q${number}`, { counts: { active: 1 } });

    expect(await read({ queueName: 'q.*', useRegex: 'true' })).toBe(250);
    expect(bus.requests).toHaveLength(3);
  });

  it('counts no queue that matches as nothing, as KEDA does', async () => {
    bus.addQueue('orders', { counts: { active: 7 } });

    expect(await read({ queueName: 'tasks', useRegex: 'true' })).toBe(0);
  });
});

describe('what is not known', () => {
  it.each([
    ['queue', { queueName: 'nowhere' }, 'nowhere'],
    ['topic', { topicName: 'nowhere', subscriptionName: 'mine' }, 'nowhere/Subscriptions/mine'],
    [
      'topic to list',
      { topicName: 'nowhere', subscriptionName: '.*', useRegex: 'true' },
      'nowhere/Subscriptions',
    ],
  ])('says that a %s does not exist, though Azure says that all is well', async (_what, params, path) => {
    const fault = await faultFrom(read(params as Record<string, string>));

    expect(fault).toMatchObject({ code: 'SOURCE_NOT_FOUND' });
    expect(fault.message).toBe(`127.0.0.1:${bus.port}/${path} does not exist`);
  });

  it('takes a description without counts for no answer', async () => {
    bus.addQueue('orders', { counts: undefined });
    bus.addQueue('others');

    const faults = [
      await faultFrom(read({ queueName: 'orders' })),
      await faultFrom(read({ queueName: 'o.*', useRegex: 'true' })),
    ];

    for (const fault of faults) {
      expect(fault.code).toBe('SOURCE_ANSWER_INVALID');
      expect(fault.message).toContain('when it is asked too often');
    }
  });

  it.each(['-1', '1.5', 'many', '1e3', '99999999999999999999', ''])(
    'takes a count of "%s" for none',
    async active => {
      bus.addQueue('orders', { counts: { active } });

      expect(await faultFrom(read({ queueName: 'orders' }))).toMatchObject({ code: 'SOURCE_ANSWER_INVALID' });
    },
  );

  it('says which key is wrong and why, and shows neither the key nor the number of the request', async () => {
    bus.addQueue('orders');
    const bound = mustBind(
      scaler,
      given({ queueName: 'orders' }, bus.connectionString(undefined, 'quite another')),
    );

    const fault = await faultFrom(readOnce(bound));

    expect(fault.code).toBe('SOURCE_REFUSED');
    expect(fault.message).toBe(
      `127.0.0.1:${bus.port}/orders answered 401: InvalidSignature: it is of another key`,
    );
  });
});

describe('many triggers on one namespace', () => {
  it('asks for a list instead of each queue, over one connection', async () => {
    for (let number = 0; number < 90; number += 1) bus.addQueue(`q${number}`, { counts: { active: number } });
    const all = Array.from({ length: 90 }, (_, number) => ({ queueName: `Q${number}` }));

    const counts = await readMany([
      ...all,
      { queueName: 'q1.', useRegex: 'true' },
      { queueName: 'q2.', useRegex: 'true' },
    ]);

    expect(counts).toEqual([...all.map((_, number) => number), 145, 245]);
    expect(bus.requests).toEqual(['$Resources/queues']);
    expect(bus.connections).toBe(1);
  });

  it('asks for each of a few, and for each where the list is longer than what is wanted of it', async () => {
    for (let number = 0; number < 900; number += 1)
      bus.addQueue(`q${number}`, { counts: { active: number } });
    const some = (count: number) =>
      Array.from({ length: count }, (_, number) => ({ queueName: `q${number}` }));

    await readMany(some(3));
    const few = bus.requests.splice(0);
    const counts = await readMany(some(6));

    expect(few.sort()).toEqual(['q0', 'q1', 'q2']);
    expect(counts).toEqual([0, 1, 2, 3, 4, 5]);
    expect(bus.requests.filter(path => path.startsWith('q'))).toHaveLength(6);
  });

  it('asks for each where the policy may not list, and tells which is missing', async () => {
    bus.manage = false;
    for (let number = 0; number < 9; number += 1) bus.addQueue(`q${number}`, { counts: { active: number } });
    const all = Array.from({ length: 10 }, (_, number) => ({ queueName: `q${number}` }));

    const counts = await readMany([...all, { queueName: '.*', useRegex: 'true' }]);

    expect(counts).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 'SOURCE_NOT_FOUND', 'SOURCE_REFUSED']);
  });

  it('does not ask a namespace that is busy the same in another way', async () => {
    bus.intercept = (_req, res) => {
      res.writeHead(503, { 'retry-after': '9' }).end();
      return true;
    };
    const all = Array.from({ length: 10 }, (_, number) => ({ queueName: `q${number}` }));

    const fault = await faultFrom(readMany(all));

    expect(fault).toMatchObject({ code: 'SOURCE_BUSY', retryAfterMs: 9000 });
    expect(bus.requests).toHaveLength(1);
  });

  it('goes on after the namespace was away', async () => {
    bus.addQueue('orders', { counts: { active: 5 } });
    const { params } = mustBind(scaler, given({ queueName: 'orders' }));
    await using conn = await scaler.open(params as Params, openContext(signal));
    const reading = () => scaler.read(params as Params, readContext(conn, signal));

    const before = await reading();
    const port = await bus.shut();
    const away = await faultFrom(reading());
    await bus.listen(port);
    const after = await reading();

    expect([before, away.code, after]).toEqual([5, 'SOURCE_UNREACHABLE', 5]);
  });
});

describe('identities', () => {
  it('takes a signature that somebody else made', async () => {
    bus.addQueue('orders', { counts: { active: 5 } });
    const key = { name: bus.keyName, key: new Secret(bus.key) };
    const token = sharedAccessToken('https://127.0.0.1/orders', key, now / 1000 + 60);
    const connection = `Endpoint=sb://127.0.0.1:${bus.port}/;SharedAccessSignature=${token.reveal()};UseDevelopmentEmulator=true`;

    expect(await readOnce(mustBind(scaler, given({ queueName: 'orders' }, connection)))).toBe(5);
  });

  it('shows a token of the pod identity, which is asked for in the name of Service Bus', async () => {
    await using encrypted = await startServiceBus({ tls: true });
    encrypted.addQueue('orders', { counts: { active: 5 } });
    const scopes: string[] = [];
    const tokens = {
      ...noTokens,
      accessToken: async (_identity: unknown, scope: string) => {
        scopes.push(scope);
        return new Secret(encrypted.token);
      },
    };
    const params = {
      queueName: 'orders',
      namespace: '127',
      cloud: 'Private',
      endpointSuffix: `0.0.1:${encrypted.port}`,
    };
    const bound = mustBind(scaler, { params }, { podIdentity: workload });

    const count = await readOnce(bound, { open: { tokens, http: { roots: encrypted.roots } } });

    expect(count).toBe(5);
    expect(scopes).toEqual([`https://127.0.0.1:${encrypted.port}/.default`]);
  });

  it.each([
    [{}, 'mine.servicebus.windows.net https://servicebus.azure.net/.default'],
    [{ cloud: 'AzureChinaCloud' }, 'mine.servicebus.chinacloudapi.cn https://servicebus.azure.net/.default'],
    [{ endpointSuffix: 'ignored' }, 'mine.servicebus.windows.net https://servicebus.azure.net/.default'],
  ])('finds the namespace in its cloud (%o)', (params, endpoint) => {
    const bound = mustBind(
      scaler,
      { params: { queueName: 'q', namespace: 'mine', ...params } },
      { podIdentity: workload },
    );

    expect(bound.scaler.endpoint(bound.params)).toBe(endpoint);
  });

  it.each([
    ['a host in the place of a name', { namespace: 'evil.example.com/' }],
    ['a cloud of its own without a domain', { namespace: 'mine', cloud: 'private' }],
    ['a domain that leads elsewhere', { namespace: 'mine', cloud: 'Private', endpointSuffix: 'x/../y' }],
    ['no namespace', {}],
  ])('refuses %s', (_what, params) => {
    const binding = bind(scaler, { params: { queueName: 'q', ...params } }, { podIdentity: workload });

    expect(binding.ok).toBe(false);
  });

  it('refuses an identity of another cloud', () => {
    const binding = bind(
      scaler,
      { params: { queueName: 'q' } },
      { podIdentity: { ...workload, provider: 'aws' } },
    );

    expect(binding).toMatchObject({
      ok: false,
      problems: [{ problem: 'pod identity aws is not for Azure Service Bus' }],
    });
  });
});

describe('names', () => {
  it.each(['../admin', 'a//b', '.', 'a/'])('refuses a queue called "%s"', queueName => {
    expect(bind(scaler, given({ queueName }))).toMatchObject({ ok: false });
  });

  it.each([
    [{ queueName: 'My.Queue' }, 's0-azure-servicebus-My-Queue'],
    [{ queueName: 'q.*', useRegex: 'true' }, 's0-azure-servicebus-queue-regex'],
    [{ topicName: 'news', subscriptionName: 'mine' }, 's0-azure-servicebus-news'],
    [{ topicName: 'news', subscriptionName: '.*', useRegex: 'true' }, 's0-azure-servicebus-topic-regex'],
  ])('names the metric of %o', (params, name) => {
    expect(mustBind(scaler, given(params as Record<string, string>)).metricName).toBe(name);
  });

  it.each([
    ['(?i)ORDERS', 'orders', true],
    ['^orders$', 'orders', true],
    ['order', 'orders', false],
    ['a)|(b', 'a', 'refused'],
    ['(?=a)', 'a', 'refused'],
  ])('understands the expression %s as Go does', async (expression, name, expected) => {
    bus.addQueue(name, { counts: { active: 1 } });

    const binding = bind(scaler, given({ queueName: expression, useRegex: 'true' }));
    const matched = binding.ok ? (await read({ queueName: expression, useRegex: 'true' })) === 1 : 'refused';

    expect(matched).toBe(expected);
  });
});

const secret = 'bm90IHRoZSBrZXk=';

scalerContract(scaler, {
  async serve() {
    const served = await startServiceBus({ now: () => now });
    const queue = served.addQueue('orders');
    const { port } = served;
    return {
      auth: { connection: served.connectionString() },
      async fill(count) {
        for (let number = 0; number < count; number += 1) served.send(queue, `message ${number}`);
      },
      async stop() {
        await served.shut();
      },
      restart: () => served.listen(port),
      [Symbol.asyncDispose]: () => served[Symbol.asyncDispose](),
    };
  },
  params: { queueName: 'orders' },
  auth: { connection: 'none' },
  expect: 4,
  alsoRequired: ['queueName', 'connection'],
  wrong: ({ auth: { connection = '' } = {} }) => ({
    auth: { connection: connection.replace(/SharedAccessKey=[^;]+/, `SharedAccessKey=${secret}`) },
  }),
  missing: () => ({ params: { queueName: 'nowhere' } }),
  async saying(active) {
    const served = await startServiceBus({ now: () => now });
    served.addQueue('orders', { counts: { active } });
    const auth = { connection: served.connectionString() };
    return { auth, [Symbol.asyncDispose]: () => served[Symbol.asyncDispose]() };
  },
  at: ({ url, host, port }) => ({
    auth: {
      connection: `Endpoint=sb://${host}:${port}/;SharedAccessKeyName=mine;SharedAccessKey=${secret}${url.startsWith('https') ? '' : ';UseDevelopmentEmulator=true'}`,
    },
  }),
});
