import { redisLists } from '../scaler/families/redis-lists.ts';

export default redisLists(
  'redis-sentinel',
  'sentinel',
  'Counts the entries of one list, or the members of a set, sorted set or hash, at the master that Redis Sentinel knows. A list that is missing is empty.',
);
