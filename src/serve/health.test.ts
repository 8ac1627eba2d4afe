import { describe, expect, it } from 'vitest';
import { requestOf } from '../../test/server-request.ts';
import { health } from './health.ts';

const caches = { name: 'caches', missing: () => undefined };
const certificates = { name: 'certificates', missing: () => 'there is no certificate yet' };

describe('health', () => {
  it.each([
    ['lives, whatever is missing', [certificates], '/healthz', 200, 'ok\n'],
    ['is ready when nothing is missing', [caches], '/readyz', 200, '[+] caches\nready\n'],
    ['is ready with no checks', [], '/readyz?verbose', 200, 'ready\n'],
    [
      'is not ready while anything is missing, and says what',
      [caches, certificates],
      '/readyz',
      503,
      '[+] caches\n[-] certificates: there is no certificate yet\nnot ready\n',
    ],
    ['knows no other path', [], '/', 404, 'there are /healthz and /readyz\n'],
  ])('%s', async (_title, checks, path, status, body) => {
    expect(await health(checks)(requestOf(path))).toMatchObject({ status, body });
  });

  it('becomes ready without being told', async () => {
    let missing: string | undefined = 'not yet';
    const handler = health([{ name: 'caches', missing: () => missing }]);

    const before = await handler(requestOf('/readyz'));
    missing = undefined;
    const after = await handler(requestOf('/readyz'));

    expect([before.status, after.status]).toEqual([503, 200]);
  });

  it('answers questions only', async () => {
    expect(await health([])(requestOf('/healthz', { method: 'POST' }))).toMatchObject({ status: 405 });
  });
});
