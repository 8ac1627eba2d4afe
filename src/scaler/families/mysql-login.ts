import { constants, createHash, publicEncrypt } from 'node:crypto';
import { Fault } from '../../base/errors.ts';
import type { Secret } from '../../base/secret.ts';
import {
  can,
  faultOfServerError,
  lengthEncoded,
  type PacketReader,
  type Packets,
  serverErrorOf,
} from './mysql-packets.ts';

/** What the server says of itself first. */
export interface Greeting {
  version: string;
  /** Names the session to those who want to stop what it does. */
  sessionId: number;
  capabilities: number;
  nonce: Buffer;
  plugin: string;
}

/** @throws Fault SOURCE_ANSWER_INVALID, or what the server has against us */
export async function readGreeting(packets: Packets): Promise<Greeting> {
  const { name } = packets.channel;
  const packet = await packets.read('login');
  if (packet.kind === 0xff) throw faultOfServerError(serverErrorOf(packet), name);
  if (packet.integer(1) !== 10) throw new Fault('SOURCE_ANSWER_INVALID', `${name} does not speak MySQL`);
  const version = packet.text();
  const sessionId = packet.integer(4);
  const first = packet.bytes(8);
  packet.bytes(1);
  const low = packet.integer(2);
  packet.bytes(3);
  const high = packet.integer(2);
  const authLength = packet.integer(1);
  packet.bytes(10);
  const second = packet.bytes(Math.max(13, authLength - 8));
  return {
    version,
    sessionId,
    capabilities: low + high * 0x1_0000,
    nonce: Buffer.concat([first, second.subarray(0, 12)]),
    plugin: packet.text(),
  };
}

export interface MysqlUser {
  user: string;
  password: Secret | undefined;
  database: string;
  clearText: boolean;
  nativeHash: boolean;
  multiStatements: boolean;
  attributes: Readonly<Record<string, string>>;
}

/** What we can do of what is wanted; sent in plain before the encryption starts, and again after it. */
export function capabilitiesFor({ database, multiStatements }: MysqlUser, encrypts: boolean): number {
  const always =
    can.longPassword |
    can.longFlag |
    can.protocol41 |
    can.transactions |
    can.secureConnection |
    can.multiResults |
    can.authPlugins |
    can.attributes |
    can.longAuth;
  const sometimes =
    (database === '' ? 0 : can.connectWithDatabase) |
    (multiStatements ? can.multiStatements : 0) |
    (encrypts ? can.encryption : 0);
  return always | sometimes;
}

/** Texts as utf8mb4. */
const charset = 45;

/** The start of the answer to the greeting; alone it asks to go on encrypted. */
export function answerHead(capabilities: number): Buffer {
  const head = Buffer.alloc(32);
  head.writeUInt32LE(capabilities, 0);
  head.writeUInt32LE(0x1000000, 4);
  head[8] = charset;
  return head;
}

/**
 * Answers the greeting and whatever the server asks for then, until it is content.
 *
 * @throws Fault SOURCE_REFUSED, NOT_SUPPORTED for ways we do not know, or of the channel
 */
export async function logIn(packets: Packets, greeting: Greeting, who: MysqlUser): Promise<void> {
  const { channel } = packets;
  let { nonce } = greeting;
  let plugin = known.has(greeting.plugin) ? greeting.plugin : 'mysql_native_password';
  packets.write(
    Buffer.concat([
      answerHead(capabilitiesFor(who, channel.encrypted)),
      Buffer.from(`${who.user}\0`),
      lengthEncoded(proof(plugin, { nonce, who, encrypted: channel.encrypted })),
      ...(who.database === '' ? [] : [Buffer.from(`${who.database}\0`)]),
      Buffer.from(`${plugin}\0`),
      attributes(who.attributes),
    ]),
  );
  for (;;) {
    const packet = await packets.read('login');
    switch (packet.kind) {
      case 0x00:
        return;
      case 0xff:
        throw faultOfServerError(serverErrorOf(packet), channel.name);
      case 0xfe:
        ({ plugin, nonce } = switchTo(packet, channel.name));
        packets.write(proof(plugin, { nonce, who, encrypted: channel.encrypted }));
        break;
      case 0x01:
        more(packet, packets, { plugin, nonce, who });
        break;
      default:
        throw new Fault('SOURCE_ANSWER_INVALID', `${channel.name} does not log in as MySQL does`);
    }
  }
}

const known = new Set([
  'mysql_native_password',
  'caching_sha2_password',
  'sha256_password',
  'mysql_clear_password',
]);

function switchTo(packet: PacketReader, name: string): { plugin: string; nonce: Buffer } {
  packet.bytes(1);
  const plugin = packet.length === 1 ? 'mysql_old_password' : packet.text();
  if (known.has(plugin)) return { plugin, nonce: Buffer.from(packet.rest().subarray(0, 20)) };
  throw new Fault('NOT_SUPPORTED', `${name} wants to log in with ${plugin}, which is not supported`);
}

interface Means {
  nonce: Buffer;
  who: MysqlUser;
}

/** What is sent first in each way to log in. */
function proof(plugin: string, { nonce, who, encrypted }: Means & { encrypted: boolean }): Buffer {
  const { clearText, nativeHash } = who;
  const password = who.password?.reveal() ?? '';
  if (plugin === 'mysql_clear_password' && !clearText) {
    throw new Fault(
      'SOURCE_REFUSED',
      'the server wants the password as it is, which allowCleartextPasswords=true would permit',
    );
  }
  if (plugin === 'mysql_native_password' && !nativeHash) {
    const sentence = 'the server wants a native password, which allowNativePasswords=false rules out';
    throw new Fault('SOURCE_REFUSED', sentence);
  }
  if (plugin === 'mysql_clear_password') return Buffer.from(`${password}\0`);
  if (plugin === 'sha256_password') {
    if (password === '') return Buffer.alloc(1);
    // One byte asks for the key to encrypt it with.
    return encrypted ? Buffer.from(`${password}\0`) : Buffer.from([1]);
  }
  if (password === '') return Buffer.alloc(0);
  if (plugin === 'caching_sha2_password') {
    const once = sha('sha256', Buffer.from(password));
    return xor(once, sha('sha256', sha('sha256', once), nonce));
  }
  const once = sha('sha1', Buffer.from(password));
  return xor(once, sha('sha1', nonce, sha('sha1', once)));
}

/** What the server wants in addition; only where it does not know the hash yet, or sends the key asked for. */
function more(
  packet: PacketReader,
  packets: Packets,
  { plugin, nonce, who }: Means & { plugin: string },
): void {
  const { channel } = packets;
  packet.bytes(1);
  const data = packet.rest();
  const password = who.password?.reveal() ?? '';
  const isKey = data.length > 1;
  if (isKey) packets.write(sealed(password, nonce, data.toString('latin1')));
  else if (plugin === 'caching_sha2_password' && data[0] === 3) return;
  else if (plugin === 'caching_sha2_password' && data[0] === 4) {
    packets.write(channel.encrypted ? Buffer.from(`${password}\0`) : Buffer.from([2]));
  } else throw new Fault('SOURCE_ANSWER_INVALID', `${channel.name} does not log in as MySQL does`);
}

/** The password for whoever has the key, and for this session alone. */
function sealed(password: string, nonce: Buffer, key: string): Buffer {
  const bytes = Buffer.from(`${password}\0`);
  const mixed = Buffer.from(bytes.map((byte, index) => byte ^ (nonce[index % nonce.length] ?? 0)));
  try {
    return publicEncrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING }, mixed);
  } catch (thrown) {
    throw new Fault('SOURCE_ANSWER_INVALID', 'the server sent a key that cannot be used', { cause: thrown });
  }
}

function sha(algorithm: 'sha1' | 'sha256', ...parts: readonly Buffer[]): Buffer {
  const hash = createHash(algorithm);
  for (const part of parts) hash.update(part);
  return hash.digest();
}

const xor = (a: Buffer, b: Buffer) => Buffer.from(a.map((byte, index) => byte ^ (b[index] ?? 0)));

function attributes(pairs: Readonly<Record<string, string>>): Buffer {
  const texts = Object.entries(pairs).flatMap(pair => pair.map(text => lengthEncoded(Buffer.from(text))));
  return lengthEncoded(Buffer.concat(texts));
}
