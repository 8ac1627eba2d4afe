import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import process from 'node:process';

/** A Prometheus that answers every query at once with one number. It is told the number, and asked for its counts. */
let value = 7;
let requests = 0;
const sockets = new Set<Socket>();
const server = createServer((_request, response) => {
  requests += 1;
  response.setHeader('content-type', 'application/json');
  response.end(
    `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"job":"web"},"value":[1700000000,"${value}"]}]}}`,
  );
});
server.keepAliveTimeout = 120_000;
server.on('connection', socket => sockets.add(socket));
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
process.on('message', (message: { value?: number }) => {
  value = message.value ?? value;
  process.send?.({ requests, connections: sockets.size });
});
process.on('disconnect', () => process.exit(0));
