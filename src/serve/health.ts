import { type Handler, splitUrl } from './handler.ts';

/** One thing that must be so before requests are sent here. */
export interface ReadinessCheck {
  /** In a word or two, such as `caches`. */
  name: string;
  /** @returns what is missing, as a sentence; undefined where nothing is. Answers at once. */
  missing(): string | undefined;
}

/**
 * The probes of the kubelet. `/healthz` is answered as long as the process answers anything: a cluster or a source
 * that is away is no reason to restart us. `/readyz` answers 503 and says why while any check misses something.
 */
export function health(checks: readonly ReadinessCheck[]): Handler {
  return ({ method, url }) => {
    if (method !== 'GET' && method !== 'HEAD') return text(405, 'only GET is answered here');
    const { path } = splitUrl(url);
    if (path === '/healthz') return text(200, 'ok');
    if (path !== '/readyz') return text(404, 'there are /healthz and /readyz');
    const found = checks.map(({ name, missing }) => ({ name, what: missing() }));
    const ready = found.every(({ what }) => what === undefined);
    const lines = found.map(({ name, what }) =>
      what === undefined ? `[+] ${name}` : `[-] ${name}: ${what}`,
    );
    return text(ready ? 200 : 503, [...lines, ready ? 'ready' : 'not ready'].join('\n'));
  };
}

const text = (status: number, body: string) => ({
  status,
  headers: { 'content-type': 'text/plain; charset=utf-8' },
  body: `${body}\n`,
});
