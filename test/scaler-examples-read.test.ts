import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlobServiceClient } from '@azure/storage-blob';
import { QueueServiceClient } from '@azure/storage-queue';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadManifests } from '../src/cli/manifests.ts';
import { verify } from '../src/cli/verify.ts';
import { localReferences } from '../src/local/references.ts';
import type { BoundRead } from '../src/scaler/bind.ts';
import { startAzurite } from './azurite.ts';
import { authority } from './certificates.ts';
import { hasGo } from './cluster/binaries.ts';
import { startEventHubs } from './event-hubs.ts';
import { startExternal } from './external-scaler.ts';
import { startFerretdb } from './ferretdb.ts';
import { type Kafka, kafkaInstalled, startKafka, user } from './kafka/server.ts';
import { mariadbInstalled, startMariadb } from './mariadb.ts';
import { httpServer } from './misbehaving-http.ts';
import { motoInstalled, startMoto } from './moto.ts';
import { natsInstalled, startNats } from './nats.ts';
import { postgresInstalled, startPostgres } from './postgres.ts';
import { rabbitInstalled, startRabbit } from './rabbitmq.ts';
import { type RedisServer, redisInstalled, startCluster, startRedis, startSentinels } from './redis.ts';
import { type ReadOnce, readOnce } from './scaler-contract.ts';
import { startServiceBus } from './service-bus.ts';

const password = 'a password';
const { signal } = new AbortController();
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'eventide-examples-'));
});

afterAll(() => rm(folder, { recursive: true }));

/** The trigger of an example, with what is written in it for another place written for this one. */
async function triggerOf(type: string, here: Readonly<Record<string, string>>): Promise<BoundRead> {
  let text = await readFile(`examples/scalers/${type}.yaml`, 'utf8');
  for (const [there, ours] of Object.entries(here)) {
    expect(text).toContain(there);
    text = text.replaceAll(there, ours);
  }
  const file = join(folder, `${type}.yaml`);
  await writeFile(file, text);
  const manifests = await loadManifests([file]);
  const { triggers } = await verify(manifests, localReferences(manifests.documents), { signal });
  const [binding] = triggers.map(each => each.binding);
  if (binding?.ok !== true || binding.bound.kind !== 'read') throw new Error(`${type} is not bound`);
  return binding.bound;
}

const read = async (type: string, here: Readonly<Record<string, string>> = {}, options: ReadOnce = {}) =>
  await readOnce(await triggerOf(type, here), { timeoutMs: 20_000, now: Date.now(), ...options });

describe('the example reads what is there:', () => {
  it('cron', async () => {
    const at = (utc: string) => read('cron', {}, { now: Date.parse(utc) });

    // A Friday in winter, then a Saturday.
    expect([
      await at('2026-01-16T08:00Z'),
      await at('2026-01-16T18:00Z'),
      await at('2026-01-17T08:00Z'),
    ]).toEqual([10, 0, 0]);
  });

  it('metrics-api', async () => {
    await using server = await httpServer((req, res) =>
      res.end(req.headers.authorization === 'Bearer a token' ? '{"tasks":{"waiting":340}}' : '{}'),
    );

    expect(await read('metrics-api', { 'http://app.default:8080': server.url })).toBe(340);
  });

  it('prometheus', async () => {
    const answer = { resultType: 'vector', result: [{ metric: {}, value: [1, '730'] }] };
    await using server = await httpServer((req, res) => {
      const asked = new URL(req.url ?? '', 'http://x').searchParams.get('query');
      const known = asked === 'sum(rate(http_requests_total{app="web"}[2m]))';
      res.end(JSON.stringify({ status: 'success', data: known ? answer : { ...answer, result: [] } }));
    });

    expect(await read('prometheus', { 'http://prometheus.monitoring:9090': server.url })).toBe(730);
  });

  it('kubernetes-resource, kubernetes-workload', async () => {
    const cluster = {
      get: async (path: string) =>
        path.includes('/pods?labelSelector=app%3Dbackend')
          ? { items: [{}, {}, {}] }
          : { data: { 'report.json': '{"tickets":{"open":41}}' } },
    };

    expect(await read('kubernetes-resource', {}, { cluster })).toBe(41);
    expect(await read('kubernetes-workload', {}, { cluster })).toBe(3);
  });

  it('external, external-push', async () => {
    const specs = [{ metricName: 'quakes', targetSize: 5 }];
    await using server = await startExternal({
      active: true,
      specs,
      values: [{ metricName: 'quakes', metricValue: 12 }],
    });
    const here = { 'earthquakes.default:9090': server.address };

    expect([await read('external', here), await read('external-push', here)]).toEqual([12, 12]);
    expect(server.asked[0]?.ref.scalerMetadata).toMatchObject({ latitude: '47.608013' });
  });

  it('azure-blob, azure-queue', async () => {
    await using azurite = await startAzurite();
    const here = { [storageConnection]: azurite.connectionString };
    const container = BlobServiceClient.fromConnectionString(azurite.connectionString).getContainerClient(
      'reports',
    );
    await container.create();
    for (const name of ['incoming/a', 'incoming/b', 'done/c'])
      await container.getBlockBlobClient(name).upload('', 0);
    const queue = QueueServiceClient.fromConnectionString(azurite.connectionString).getQueueClient(
      'image-queue',
    );
    await queue.create();
    for (let count = 0; count < 7; count += 1) await queue.sendMessage('an image');

    expect([await read('azure-blob', here), await read('azure-queue', here)]).toEqual([2, 7]);
  });

  it('azure-eventhub', async () => {
    await using azurite = await startAzurite();
    await using hubs = await startEventHubs();
    hubs.create('pages', 2);
    hubs.send('pages', 0, {}, {}, {});
    const there =
      'Endpoint=sb://shop.servicebus.windows.net/;SharedAccessKeyName=eventide;SharedAccessKey=c2VjcmV0;EntityPath=pages';
    const here = {
      [there]: `${hubs.connectionString};EntityPath=pages`,
      [storageConnection]: azurite.connectionString,
    };

    expect(await read('azure-eventhub', here)).toBe(3);
  });

  it('azure-servicebus', async () => {
    await using bus = await startServiceBus();
    bus.addQueue('invoices', { counts: { active: 7 } });
    const there =
      'Endpoint=sb://shop.servicebus.windows.net/;SharedAccessKeyName=eventide;SharedAccessKey=c2VjcmV0';

    expect(await read('azure-servicebus', { [there]: bus.connectionString() })).toBe(7);
  });

  it.skipIf(!motoInstalled)('aws-sqs-queue', async () => {
    await using moto = await startMoto();
    const url = await moto.makeQueue('thumbnails');
    for (let count = 0; count < 3; count += 1)
      await moto.sqs('SendMessage', { QueueUrl: url, MessageBody: 'an image' });
    const here = {
      'https://sqs.eu-west-1.amazonaws.com/123456789012/thumbnails': url,
      'awsRegion: eu-west-1': `awsRegion: eu-west-1\n        awsEndpoint: ${moto.url}`,
    };

    expect(await read('aws-sqs-queue', here)).toBe(3);
  });

  it.skipIf(!natsInstalled)('nats-jetstream', async () => {
    await using nats = await startNats();
    await nats.api('STREAM.CREATE.ORDERS', { name: 'ORDERS', subjects: ['ORDERS.*'] });
    const config = { durable_name: 'mailer', ack_policy: 'explicit' };
    await nats.api('CONSUMER.DURABLE.CREATE.ORDERS.mailer', { stream_name: 'ORDERS', config });
    for (let count = 0; count < 4; count += 1) await nats.publish('ORDERS.new', 'an order');

    expect(await read('nats-jetstream', { 'nats.default:8222': nats.monitoring })).toBe(4);
  });

  it.skipIf(!postgresInstalled)('postgresql', async () => {
    await using server = await startPostgres({
      access: ['hostssl all all 127.0.0.1/32 scram-sha-256'],
      tls: true,
    });
    await server.sql("CREATE ROLE worker LOGIN PASSWORD 'password'");
    await server.sql(
      "CREATE TABLE tasks AS SELECT 'open' AS state FROM generate_series(1, 9); GRANT SELECT ON tasks TO worker",
      'shop',
    );
    const here = { 'postgresql.default:5432': `127.0.0.1:${server.port}` };

    expect(await read('postgresql', here, { open: { http: { roots: [authority] } } })).toBe(9);
  });

  it.skipIf(!mariadbInstalled)('mysql', async () => {
    await using server = await startMariadb();
    await server.sql(
      `CREATE TABLE shop.tasks (state text); INSERT INTO shop.tasks VALUES ('open'), ('done'), ('open');
       CREATE USER worker@'%' IDENTIFIED BY 'password'; GRANT SELECT ON shop.* TO worker@'%'`,
    );

    expect(await read('mysql', { 'mysql.default:3306': `127.0.0.1:${server.port}` })).toBe(2);
  });

  it.skipIf(!hasGo)('mongodb', async () => {
    await using server = await startFerretdb({ password });
    const tasks = server.client.db('shop').collection('tasks');
    await tasks.insertMany([{ state: 'open' }, { state: 'open' }, { state: 'done' }]);
    const here = {
      'worker:password@mongodb.default:27017/shop': `app:${encodeURIComponent(password)}@127.0.0.1:${server.port}/admin`,
    };

    expect(await read('mongodb', here)).toBe(2);
  });

  it.skipIf(!rabbitInstalled)('rabbitmq', async () => {
    await using rabbit = await startRabbit();
    await rabbit.channel.assertQueue('orders');
    for (let count = 0; count < 6; count += 1) rabbit.channel.sendToQueue('orders', Buffer.from('an order'));
    const here = { 'amqp://worker:password@rabbitmq.default:5672/shop': `${rabbit.amqp}/` };

    await expect.poll(() => read('rabbitmq', here), { timeout: 20_000 }).toBe(6);
  });
});

const storageConnection =
  'DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net';

describe.skipIf(!redisInstalled)('the example reads what is there:', () => {
  /** Twelve entries. */
  async function fillList(send: RedisServer['send']): Promise<void> {
    await send('RPUSH', 'tasks', ...Array.from({ length: 12 }, String));
  }
  /** Seven entries that the group was not handed. */
  async function fillStream(send: RedisServer['send']): Promise<void> {
    await send('XGROUP', 'CREATE', 'orders', 'workers', '0', 'MKSTREAM');
    for (let count = 0; count < 7; count += 1) await send('XADD', 'orders', '*', 'number', String(count));
  }

  it('redis, redis-streams', async () => {
    await using server = await startRedis({ password });
    await fillList(server.send);
    await fillStream(server.send);
    const here = { 'redis.default:6379': server.address };

    expect([await read('redis', here), await read('redis-streams', here)]).toEqual([12, 7]);
  });

  it('redis-cluster, redis-cluster-streams', async () => {
    await using cluster = await startCluster({ password });
    // Whoever has the slot takes it.
    for (const { send } of cluster.servers) {
      await fillList(send).catch(() => {});
      await fillStream(send).catch(() => {});
    }
    const here = { 'redis-0.redis:6379,redis-1.redis:6379,redis-2.redis:6379': cluster.addresses };

    expect([await read('redis-cluster', here), await read('redis-cluster-streams', here)]).toEqual([12, 7]);
  });

  it('redis-sentinel, redis-sentinel-streams', async () => {
    const words = { password: 'password', sentinelPassword: 'sentinels' };
    await using group = await startSentinels(words);
    await fillList(group.master.send);
    await fillStream(group.master.send);
    const here = {
      'sentinel-0.redis:26379,sentinel-1.redis:26379,sentinel-2.redis:26379': group.addresses,
      '"a password"': words.password,
      '"a password of the sentinels"': words.sentinelPassword,
    };

    expect([await read('redis-sentinel', here), await read('redis-sentinel-streams', here)]).toEqual([12, 7]);
  });
});

describe.skipIf(!kafkaInstalled)('the example reads what is there:', () => {
  let kafka: Kafka;

  beforeAll(async () => {
    kafka = await startKafka();
    for (const topic of ['orders', 'refunds']) {
      await kafka.tool('create', topic, 1);
      await kafka.tool('produce', topic, 0, 6, 'a message');
      await kafka.tool('commit', 'mailer', topic, '0=2');
    }
  });

  afterAll(() => kafka[Symbol.asyncDispose]());

  const login = {
    'username: mailer': `username: ${user.username}`,
    '"a password"': JSON.stringify(user.password),
  };

  it('apache-kafka', async () => {
    const here = { 'kafka-0.kafka:9092,kafka-1.kafka:9092': kafka.address.sasl, ...login };

    expect(await read('apache-kafka', here)).toBe(8);
  });

  it('kafka', async () => {
    const certificate = authority.trim().split('\n').join('\n    ');
    const here = {
      'kafka-0.kafka:9093,kafka-1.kafka:9093': kafka.address.saslssl,
      '-----BEGIN CERTIFICATE-----\n    (of who signed the certificates of the brokers)\n    -----END CERTIFICATE-----':
        certificate,
      ...login,
    };

    expect(await read('kafka', here)).toBe(4);
  });
});
