import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { authority, serverCertificate, serverKey } from './certificates.ts';
import { goProgram } from './go-program.ts';
import { closedPort } from './misbehaving-http.ts';
import { removeFolder, serverFolder, startProgram } from './server-process.ts';

/** An external scaler in Go; what it says is in the trigger's metadata. */
export interface GoExternal extends AsyncDisposable {
  address: string;
  stop(): Promise<void>;
  freeze(): void;
  thaw(): void;
}

/** @param tls whether it encrypts, and wants a certificate of the client's */
export async function startGoExternal({ tls = false } = {}): Promise<GoExternal> {
  const program = await goProgram('external', 'an external scaler (a minute)');
  const folder = await serverFolder('external');
  const port = await closedPort();
  const address = `127.0.0.1:${port}`;
  const files = { cert: serverCertificate, key: serverKey, 'client-ca': authority };
  const args = Object.keys(files).map(name => `-${name}=${join(folder, name)}`);
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  const isReady = () =>
    new Promise<boolean>(resolve => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy();
        resolve(true);
      }).on('error', () => resolve(false));
    });
  const started = await startProgram([program, `-listen=${address}`, ...(tls ? args : [])], {
    cwd: folder,
    isReady,
    asOurselves: true,
  });
  return {
    address,
    stop: () => started.stop(),
    freeze: () => started.freeze(),
    thaw: () => started.thaw(),
    async [Symbol.asyncDispose]() {
      await started.stop('SIGKILL');
      await removeFolder(folder);
    },
  };
}
