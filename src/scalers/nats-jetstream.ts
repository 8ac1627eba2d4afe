import { Fault } from '../base/errors.ts';
import { defineScaler, refuse } from '../scaler/define.ts';
import { natsAccess, natsAccessParams, natsIdentity, openNats } from '../scaler/families/nats-access.ts';
import { jetStreamDelivery } from '../scaler/families/nats-delivery.ts';
import { readLags } from '../scaler/families/nats-lag.ts';
import { normalizeMetricName } from '../scaler/metric-name.ts';
import { p } from '../scaler/params.ts';

const authFirst = ['auth', 'metadata'] as const;

export default defineScaler({
  type: 'nats-jetstream',
  doc: 'Counts how far one consumer of a stream in NATS JetStream is behind: messages it was not handed yet, and those it was handed and has not acknowledged. In a cluster the server that leads the consumer is asked. A consumer that is missing is an error.',
  testedWith: { kind: 'real', with: 'NATS Server 2.9' },
  params: {
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
    ...natsAccessParams,
    deadLetterSubject: p.text({
      doc: 'Delivery only: where copies of messages that cannot be processed go; `<stream>-poison` unless given.',
      optional: true,
    }),
  },
  target: 'lagThreshold',
  activation: 'activationLagThreshold',
  counts: 'waiting and in flight',
  resolve(values) {
    const { account, accountID, stream, consumer, deadLetterSubject } = values;
    const access = natsAccess(values);
    const problems = 'problems' in access ? [...access.problems] : [];
    if (account === undefined && accountID === undefined) {
      problems.push({
        problem: '"account" is missing',
        mending: 'give the name of the account, or its id as accountID; without accounts it is $G',
        place: { field: 'metadata.account' },
      });
    }
    if ('problems' in access || problems.length > 0) return refuse(problems);
    return { access, account, accountID: accountID ?? account ?? '', stream, consumer, deadLetterSubject };
  },
  metricName: ({ stream }) => normalizeMetricName(`nats-jetstream-${stream}`),
  endpoint: ({ access }) => natsIdentity(access),
  query: ({ account = '', accountID, stream, consumer }) =>
    JSON.stringify([accountID, account, stream, consumer]),
  open: async ({ access }, context) => openNats(access, context),
  async read(consumer, { conn, now, signal }) {
    const [lag = new Fault('INTERNAL', 'nothing was counted')] = await readLags(conn.monitoring, [consumer], {
      now,
      signal,
    });
    if (typeof lag === 'number') return lag;
    throw lag;
  },
  readMany: async (consumers, { conn, now, signal }) =>
    await readLags(conn.monitoring, consumers, { now, signal }),
  deliver: jetStreamDelivery,
});
