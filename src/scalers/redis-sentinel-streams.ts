import { redisStreams } from '../scaler/families/redis-streams.ts';

export default redisStreams(
  'redis-sentinel-streams',
  'sentinel',
  'Counts the entries of one stream at the master that Redis Sentinel knows: with a group and lagCount those not handed to the group yet, with a group alone those handed out and not acknowledged, without a group all. For the lag, a stream that is missing has none, and a group that is missing has the whole stream before it.',
);
