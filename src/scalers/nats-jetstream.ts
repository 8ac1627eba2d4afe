import { Fault } from '../base/errors.ts';
import { defineScaler, refuse } from '../scaler/define.ts';
import { readLags } from '../scaler/families/nats-lag.ts';
import { NatsMonitoring } from '../scaler/families/nats-monitoring.ts';
import { normalizeMetricName } from '../scaler/metric-name.ts';
import { p } from '../scaler/params.ts';

const authFirst = ['auth', 'metadata'] as const;

export default defineScaler({
  type: 'nats-jetstream',
  doc: 'Counts how far one consumer of a stream in NATS JetStream is behind: messages it was not handed yet, and those it was handed and has not acknowledged. In a cluster the server that leads the consumer is asked. A consumer that is missing is an error.',
  params: {
    natsServerMonitoringEndpoint: p.text({
      doc: '`host:port` of the monitoring endpoint, or several of one cluster with commas between them.',
      from: authFirst,
    }),
    account: p.text({
      doc: 'Name of the account; `$G` where no accounts are set up.',
      from: authFirst,
      optional: true,
    }),
    accountID: p.text({
      doc: 'Id of the account; `account` unless given. One of the two is required.',
      from: authFirst,
      optional: true,
    }),
    stream: p.text({ doc: 'Name of the stream.' }),
    consumer: p.text({ doc: 'Name of the consumer.' }),
    lagThreshold: p.integer({ doc: 'Messages per replica.', unit: 'messages', default: '10' }),
    activationLagThreshold: p.integer({
      doc: 'Active above this many messages.',
      unit: 'messages',
      default: '0',
    }),
    useHttps: p.flag({ doc: 'Whether the monitoring endpoint speaks HTTPS.', default: 'false' }),
  },
  target: 'lagThreshold',
  activation: 'activationLagThreshold',
  counts: 'waiting and in flight',
  resolve({ account, accountID, stream, consumer, useHttps, natsServerMonitoringEndpoint }) {
    const problems = [];
    if (account === undefined && accountID === undefined) {
      problems.push({
        problem: '"account" is missing',
        mending: 'give the name of the account, or its id as accountID; without accounts it is $G',
        place: { field: 'metadata.account' },
      });
    }
    const endpoints = natsServerMonitoringEndpoint.split(',').map(text => baseOf(text.trim(), useHttps));
    const [first, ...others] = endpoints.filter(base => base !== undefined);
    if (first === undefined || endpoints.includes(undefined)) {
      problems.push({
        problem: 'natsServerMonitoringEndpoint is no address',
        mending: 'write host:port, such as nats.nats.svc.cluster.local:8222',
        place: { field: 'metadata.natsServerMonitoringEndpoint' },
      });
    }
    if (problems.length > 0 || first === undefined) return refuse(problems);
    const bases: [string, ...string[]] = [first, ...others];
    return { bases, account, accountID: accountID ?? account ?? '', stream, consumer };
  },
  metricName: ({ stream }) => normalizeMetricName(`nats-jetstream-${stream}`),
  endpoint: ({ bases }) => bases.join(','),
  query: ({ account = '', accountID, stream, consumer }) =>
    JSON.stringify([accountID, account, stream, consumer]),
  open: async ({ bases }, context) => new NatsMonitoring(bases, context),
  async read(consumer, { conn, now, signal }) {
    const [lag = new Fault('INTERNAL', 'nothing was counted')] = await readLags(conn, [consumer], {
      now,
      signal,
    });
    if (typeof lag === 'number') return lag;
    throw lag;
  },
  readMany: async (consumers, { conn, now, signal }) => await readLags(conn, consumers, { now, signal }),
});

/** `http://host:port`; undefined for what is no address. */
function baseOf(address: string, useHttps: boolean): string | undefined {
  const url = `${useHttps ? 'https' : 'http'}://${address}`;
  return URL.canParse(url) && /^[^/?#@\s]+$/.test(address) ? new URL(url).origin : undefined;
}
