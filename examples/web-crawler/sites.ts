import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Small web sites of linked pages, on a loopback port. */
export interface Sites extends AsyncDisposable {
  /** Where a site begins, such as `http://127.0.0.1:4000/site-3/`. */
  address(site: number): string;
  /** How often each page was asked for, by its path. */
  readonly asked: ReadonlyMap<string, number>;
}

interface SitesOptions {
  pagesEach: number;
  /** How long a page takes, in milliseconds. */
  answerMs: number;
}

/** Serves as many sites as are asked for. Each page links to two more, home, and to a site that is not its own. */
export async function startSites({ pagesEach, answerMs }: SitesOptions): Promise<Sites> {
  const asked = new Map<string, number>();

  async function answer({ url = '/' }: IncomingMessage, res: ServerResponse): Promise<void> {
    asked.set(url, (asked.get(url) ?? 0) + 1);
    await sleep(answerMs);
    const [, site, page = '0'] = /^\/site-(\d+)\/(?:page-(\d+)\.html)?$/.exec(url) ?? [];
    const found = site !== undefined && Number(page) < pagesEach;
    res.writeHead(found ? 200 : 404, { 'content-type': 'text/html; charset=utf-8' });
    res.end(found ? pageOf(Number(site), Number(page)) : '<title>Not found</title>');
  }

  function pageOf(site: number, page: number): string {
    const below = [2 * page + 1, 2 * page + 2].filter(each => each < pagesEach);
    const links = [
      ...below.map(each => `<a href="page-${each}.html#top">Page ${each}</a>`),
      `<a href="/site-${site}/">Home</a>`,
      `<a href="/site-${site + 1}/">A neighbour</a>`,
    ];
    return `<!doctype html><title>Site ${site}, page ${page}</title><body>${links.join(' ')}</body>`;
  }

  const server = createServer((req, res) => void answer(req, res));
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    asked,
    address: site => `http://127.0.0.1:${port}/site-${site}/`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    },
  };
}
