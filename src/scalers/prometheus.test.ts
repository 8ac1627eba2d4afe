import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { scalerContract } from '../../test/scaler-contract.ts';
import prometheus from './prometheus.ts';

scalerContract(prometheus, {
  async serve() {
    const server = createServer((_req, res) =>
      res.end('{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"4"]}]}}'),
    );
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    return {
      params: { serverAddress: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
      async [Symbol.asyncDispose]() {
        server.closeAllConnections();
        server.close();
      },
    };
  },
  params: { query: 'up', threshold: '5', authModes: 'bearer,custom' },
  auth: { bearerToken: 'very-secret-token', customAuthHeader: 'X-Tenant', customAuthValue: 'tenant secret' },
  at: ({ url }) => ({ params: { serverAddress: url } }),
  expect: 4,
});
