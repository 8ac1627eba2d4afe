import { describe, expect, it } from 'vitest';
import { aggregate, endpointUrls } from './service-endpoints.ts';

const never = new AbortController().signal;
const urlsOf = (items: object[], url = 'http://stats.shop:8080/load?x=1') =>
  endpointUrls(new URL(url), { get: async () => ({ items }) }, never);

describe('the endpoints of a service', () => {
  it.each([
    ['have the port of the slice that has it', [8080], 'http://10.0.0.1:8080/load?x=1'],
    ['have the port of the scheme where no slice has it', [9090], 'http://10.0.0.1/load?x=1'],
    ['may have no port at all', null, 'http://10.0.0.1/load?x=1'],
  ])('%s', async (_title, ports, url) => {
    const slice = { ports: ports?.map(port => ({ port })) ?? null, endpoints: [{ addresses: ['10.0.0.1'] }] };

    expect(await urlsOf([slice])).toEqual([url]);
  });

  it('are each address once, without those that are not ready', async () => {
    const slices = [
      { ports: [{ port: 8080 }], endpoints: [{ addresses: ['10.0.0.1', '10.0.0.2'] }] },
      { ports: [{ port: 8080 }], endpoints: [{ addresses: ['10.0.0.2'] }, { addresses: ['fd00::1'] }] },
      { ports: [{ port: 8080 }], endpoints: [{ addresses: ['10.0.0.3'], conditions: { ready: false } }] },
      { ports: [{ port: 8080 }], endpoints: null },
    ];

    expect((await urlsOf(slices)).map(url => new URL(url).hostname)).toEqual([
      '10.0.0.1',
      '10.0.0.2',
      '[fd00::1]',
    ]);
  });
});

describe('many numbers', () => {
  it.each([
    ['average', 3],
    ['sum', 9],
    ['max', 6],
    ['min', 1],
  ] as const)('become one by %s', (how, value) => {
    expect(aggregate(how, [2, 6, 1])).toBe(value);
  });
});
