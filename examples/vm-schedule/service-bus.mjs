import { createHmac } from 'node:crypto';

/** How long a signature is good for, in seconds. */
const signedFor = 300;

/**
 * Sends to a queue by Service Bus's own HTTP interface ("Send Message"). Two messages with one id are one, where the
 * queue detects duplicates.
 *
 * @param connection the connection string of the namespace, with a policy that may send
 * @throws Error unless Service Bus has the message
 */
export async function sendMessage(connection, queue, { id, body }) {
  const parts = partsOf(connection);
  const plain = parts.get('usedevelopmentemulator') === 'true';
  const host = new URL(parts.get('endpoint').replace(/^sb:/, 'https:')).host;
  const address = `${plain ? 'http' : 'https'}://${host}/${encodeURIComponent(queue)}`;
  const answer = await fetch(`${address}/messages`, {
    method: 'POST',
    headers: {
      authorization: signature(address, parts.get('sharedaccesskeyname'), parts.get('sharedaccesskey')),
      'content-type': 'application/json',
      brokerproperties: JSON.stringify({ MessageId: id }),
    },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(10_000),
  });
  await answer.arrayBuffer();
  if (answer.status !== 201) throw new Error(`${host} answered ${answer.status}`);
}

function partsOf(connection) {
  return new Map(
    connection.split(';').map(part => {
      const [name] = part.split('=', 1);
      return [name.trim().toLowerCase(), part.slice(name.length + 1)];
    }),
  );
}

function signature(address, name, key) {
  const resource = encodeURIComponent(address);
  const until = Math.floor(Date.now() / 1000) + signedFor;
  const signed = createHmac('sha256', key).update(`${resource}\n${until}`).digest('base64');
  return `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signed)}&se=${until}&skn=${name}`;
}
