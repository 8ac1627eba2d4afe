import { redisLists } from '../scaler/families/redis-lists.ts';

export default redisLists(
  'redis-cluster',
  'cluster',
  'Counts the entries of one list in a Redis cluster, or the members of a set, sorted set or hash. A list that is missing is empty.',
);
