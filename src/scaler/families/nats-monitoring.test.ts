import type { RequestListener } from 'node:http';
import { describe, expect, it } from 'vitest';
import { httpServer } from '../../../test/misbehaving-http.ts';
import { openContext } from '../../../test/scaler-contract.ts';
import { Fault } from '../../base/errors.ts';
import { readLags } from './nats-lag.ts';
import { NatsMonitoring, nodeBases } from './nats-monitoring.ts';

const { signal } = new AbortController();
const asking = { now: 0, signal };
const facts = { id: 'N1', name: 'n1', port: 4222, connectUrls: [], routeUrls: [] };

describe('the servers of a cluster', () => {
  it.each([
    [
      'at the hosts that they advertise',
      'http://nats.shop:8222',
      { connectUrls: ['10.0.0.1:4222', 'nats-1.nats.shop.svc:4222', '[fd00::1]:4222'] },
      ['http://10.0.0.1:8222', 'http://nats-1.nats.shop.svc:8222', 'http://[fd00::1]:8222'],
    ],
    [
      'at the pods of the service, as KEDA does, or at their own names, where they advertise none',
      'https://nats.shop:8222',
      { routeUrls: ['nats-0.nats.shop.svc:6222'] },
      ['https://nats-0.nats.shop:8222', 'https://nats-0.nats.shop.svc:8222'],
    ],
    [
      'at their addresses where these are no names',
      'http://nats',
      { routeUrls: ['10.0.0.1:6222'] },
      ['http://10.0.0.1'],
    ],
    ['nowhere where there are none', 'http://nats:8222', {}, []],
  ])('are asked %s', (_title, entry, over, bases) => {
    expect(nodeBases(entry, { ...facts, ...over })).toEqual(bases);
  });
});

describe('the lag of a consumer', () => {
  /** A server that says this of one stream, alone or as one of a cluster. */
  const saying =
    (consumer: Record<string, unknown>, cluster: Record<string, unknown> = {}): RequestListener =>
    (req, res) => {
      const [{ host }] = [req.headers];
      const streams = [{ name: 'S', consumer_detail: [{ name: 'c', ...consumer }] }];
      const state = { server_id: 'N1', account_details: [{ id: '$G', name: '$G', stream_detail: streams }] };
      const about = { server_id: 'N1', server_name: 'n1', port: 4222, connect_urls: [host] };
      res.end(JSON.stringify(req.url === '/varz' ? about : { ...state, ...cluster }));
    };

  async function lagAt(answer: RequestListener): Promise<number | Fault> {
    await using server = await httpServer(answer);
    await using monitoring = new NatsMonitoring([server.url], {}, openContext(signal));
    const wanted = { account: '$G', accountID: '$G', stream: 'S', consumer: 'c' };
    const [lag = new Fault('INTERNAL', 'none')] = await readLags(monitoring, [wanted], asking);
    return lag;
  }

  const alone = { num_pending: 3, num_ack_pending: 2 };
  const clustered = { meta_cluster: { cluster_size: 3 } };

  it.each([
    ['what waits and what is not acknowledged', alone, {}, 5],
    [
      'as much for a cluster of one',
      { ...alone, cluster: { leader: 'n9' } },
      { meta_cluster: { cluster_size: 1 } },
      5,
    ],
    ['what the leader says', { ...alone, cluster: { leader: 'n1' } }, clustered, 5],
    ['nothing without a number', { num_pending: 3 }, {}, 'SOURCE_ANSWER_INVALID'],
    ['nothing below zero', { ...alone, num_pending: -3 }, {}, 'SOURCE_ANSWER_INVALID'],
    ['nothing while there is no leader', { ...alone, cluster: {} }, clustered, 'SOURCE_FAILED'],
    ['nothing from who does not lead', { ...alone, cluster: { leader: 'n2' } }, clustered, 'SOURCE_FAILED'],
  ])('is %s', async (_title, consumer, cluster, expected) => {
    const lag = await lagAt(saying(consumer, cluster));

    expect(lag instanceof Fault ? lag.code : lag).toBe(expected);
  });

  it('says which server should know', async () => {
    const lag = await lagAt(saying({ ...alone, cluster: { leader: 'n2' } }, clustered));

    expect((lag as Fault).message).toMatch(
      /^consumer "c" of stream "S" is led by server "n2", which was not found from 127\.0\.0\.1:\d+$/,
    );
  });
});
