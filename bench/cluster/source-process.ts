/**
 * A Prometheus that is not to be the bottleneck: it reads as little of a request as it can, on bare sockets.
 * A query `group_7` is answered with the value that its parent set for `group`.
 */
import { type AddressInfo, createServer, type Socket } from 'node:net';
import process from 'node:process';
import type { SourceCounts, SourceOrder } from './source.ts';

const values = new Map<string, number>();
const answers = new Map<string, string>();
/** Those that asked while we were hanging: they never get an answer. */
const waiting = new Set<Socket>();
let hanging = false;
let reads = 0;
let connections = 0;

const server = createServer({ noDelay: true }, socket => {
  connections += 1;
  let unread = '';
  socket.setEncoding('latin1').on('data', (text: string) => {
    unread += text;
    for (let end = endOf(unread); end > 0; end = endOf(unread)) {
      const request = unread.slice(0, end);
      unread = unread.slice(end);
      reads += 1;
      if (hanging) waiting.add(socket);
      else socket.write(answerTo(request));
    }
  });
  socket.on('error', () => socket.destroy());
  socket.on('close', () => waiting.delete(socket));
});

/** Where the first request of a text ends, its body included; 0 while it has not ended. */
function endOf(text: string): number {
  const head = text.indexOf('\r\n\r\n');
  if (head < 0) return 0;
  const body = text.startsWith('GET') ? 0 : Number(/\r\ncontent-length: *(\d+)/i.exec(text)?.[1] ?? 0);
  return text.length >= head + 4 + body ? head + 4 + body : 0;
}

function answerTo(request: string): string {
  const group = /query=([a-z]+\d*)_/.exec(request)?.[1] ?? '';
  const known = answers.get(group);
  if (known !== undefined) return known;
  const result = `{"metric":{},"value":[1700000000,"${values.get(group) ?? 0}"]}`;
  const body = `{"status":"success","data":{"resultType":"vector","result":[${result}]}}`;
  const answer = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  answers.set(group, answer);
  return answer;
}

process.on('message', (order: SourceOrder) => {
  for (const [group, value] of Object.entries(order.set ?? {})) {
    values.set(group, value);
    answers.delete(group);
  }
  if (order.hang !== undefined) hanging = order.hang;
  if (!hanging) for (const socket of waiting) socket.destroy();
  process.send?.({ reads, connections, at: Date.now() } satisfies SourceCounts);
});
process.on('disconnect', () => process.exit(0));
server.listen(0, process.argv[2] ?? '127.0.0.1', () =>
  process.send?.({ port: (server.address() as AddressInfo).port }),
);
