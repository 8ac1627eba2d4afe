import { existsSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { closedPort } from './misbehaving-http.ts';
import { startProgram } from './server-process.ts';

const cache = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
const program = join(cache, 'eventide', 'moto-5.2.5', 'bin', 'moto_server');

/** Whether moto is where .ci/run puts it: without it these tests are skipped. */
export const motoInstalled = existsSync(program);

/** A running moto: AWS, as far as it imitates it. */
export interface MotoServer extends AsyncDisposable {
  /** `http://127.0.0.1:port` */
  url: string;
}

/** Starts AWS with nothing in it. */
export async function startMoto(): Promise<MotoServer> {
  const port = await closedPort();
  const url = `http://127.0.0.1:${port}`;
  const child = await startProgram([program, '-H', '127.0.0.1', '-p', String(port)], {
    cwd: tmpdir(),
    asOurselves: true,
    isReady: () =>
      fetch(`${url}/moto-api/`).then(
        ({ ok }) => ok,
        () => false,
      ),
  });
  return { url, [Symbol.asyncDispose]: () => child[Symbol.asyncDispose]() };
}
