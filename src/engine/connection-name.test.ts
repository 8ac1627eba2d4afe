import { expect, it } from 'vitest';
import { connectionName } from './connection-name.ts';

const three = ['shop/mail', 'shop/orders', 'shop/parcels'];

it.each([
  ['is ours alone where nobody is known', [], undefined, 'eventide'],
  ['lists the workloads', three, undefined, 'eventide for shop/mail, shop/orders, shop/parcels'],
  ['lists all that just fit', three, 49, 'eventide for shop/mail, shop/orders, shop/parcels'],
  ['counts those that do not fit', three, 48, 'eventide for shop/mail, shop/orders and 1 more'],
  ['leaves room to say how many do not fit', three, 45, 'eventide for shop/mail and 2 more'],
  ['cuts a name that is too long by itself', three, 30, 'eventide for sho... and 2 more'],
  ['cuts the only name', ['shop/mail'], 20, 'eventide for shop...'],
])('a connection name %s', (_title, workloads, most, expected) => {
  expect(connectionName('eventide', workloads, most)).toBe(expected);
});

it('a connection name is as short as the source wants it, with a thousand workloads', () => {
  const workloads = Array.from({ length: 1000 }, (_, index) => `shop/worker-${index}`);

  const name = connectionName('eventide', workloads, 63);

  expect(name).toBe('eventide for shop/worker-0, shop/worker-1 and 998 more');
});
