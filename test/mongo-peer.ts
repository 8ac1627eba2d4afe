import { BSON } from 'mongodb';
import { type TestServer, tcpServer } from './misbehaving-http.ts';

const reply = 1;
const query = 2004;
const message = 2013;

/**
 * A peer of MongoDB's wire protocol that lets anybody in and gives this number for whatever is counted, which no real
 * server would.
 */
export function countingMongo(number: number): Promise<TestServer> {
  const count = {
    cursor: { id: BSON.Long.ZERO, ns: 'shop.orders', firstBatch: [{ n: new BSON.Double(number) }] },
  };
  const hello = { ismaster: true, maxWireVersion: 21, minWireVersion: 0, readOnly: false };
  return tcpServer(socket => {
    let held = Buffer.alloc(0);
    socket.on('data', chunk => {
      held = Buffer.concat([held, chunk]);
      while (held.length >= 16 && held.length >= held.readInt32LE(0)) {
        const asked = held.subarray(0, held.readInt32LE(0));
        held = held.subarray(asked.length);
        const isCount = asked.includes('aggregate');
        const document = BSON.serialize({ ...(isCount ? count : hello), ok: 1 });
        socket.write(framed(asked.readInt32LE(4), asked.readInt32LE(12) === query, document));
      }
    });
  });
}

/** An OP_REPLY to the first question of a connection, else an OP_MSG. */
function framed(to: number, isFirst: boolean, document: Uint8Array): Buffer {
  const head = Buffer.alloc(16 + (isFirst ? 20 : 5));
  head.writeInt32LE(head.length + document.length, 0);
  head.writeInt32LE(to, 8);
  head.writeInt32LE(isFirst ? reply : message, 12);
  if (isFirst) head.writeInt32LE(1, 32);
  return Buffer.concat([head, document]);
}
