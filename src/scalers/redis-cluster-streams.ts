import { redisStreams } from '../scaler/families/redis-streams.ts';

export default redisStreams(
  'redis-cluster-streams',
  'cluster',
  'Counts the entries of one stream in a Redis cluster: with a group and lagCount those not handed to the group yet, with a group alone those handed out and not acknowledged, without a group all. For the lag, a stream that is missing has none, and a group that is missing has the whole stream before it.',
);
