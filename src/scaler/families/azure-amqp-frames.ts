import { Fault } from '../../base/errors.ts';
import { AmqpReader, type AmqpValue, amqp, codeOf, Described } from './azure-amqp-types.ts';

/** Numbers that the specification gives to performatives, states and sections. */
export const codes = {
  open: 0x10,
  begin: 0x11,
  attach: 0x12,
  flow: 0x13,
  transfer: 0x14,
  disposition: 0x15,
  detach: 0x16,
  end: 0x17,
  close: 0x18,
  error: 0x1d,
  accepted: 0x24,
  rejected: 0x25,
  source: 0x28,
  target: 0x29,
  saslMechanisms: 0x40,
  saslInit: 0x41,
  saslOutcome: 0x44,
  header: 0x70,
  messageAnnotations: 0x72,
  properties: 0x73,
  applicationProperties: 0x74,
  data: 0x75,
  value: 0x77,
} as const;

export const headers = { sasl: Buffer.from('AMQP\x03\x01\0\0'), amqp: Buffer.from('AMQP\0\x01\0\0') };

/** The largest frame that we take, as we tell the other side. */
export const mostFrameBytes = 64 * 1024;
/** The largest message that anything here takes; Azure's own limit is 1 MiB, and 20 MiB where one pays for it. */
export const mostMessageBytes = 32 * 1024 * 1024;

export interface AmqpFrame {
  /** What it is about; undefined for a frame that only says that the other side lives. */
  performative: AmqpValue | undefined;
  payload: Buffer;
}

/** A frame as it goes out. */
export function encodeFrame(kind: 'amqp' | 'sasl', body: Buffer, payload?: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(8 + body.length + (payload?.length ?? 0));
  head[4] = 2;
  head[5] = kind === 'amqp' ? 0 : 1;
  return Buffer.concat(payload === undefined ? [head, body] : [head, body, payload]);
}

/** Takes bytes as they arrive and gives what is whole: protocol headers, then frames. */
export class FrameReader {
  #chunks: Buffer[] = [];
  #buffered = 0;
  #headers = 2;

  /** @throws Fault SOURCE_ANSWER_INVALID; its message continues a sentence that begins with the server's name */
  *push(chunk: Buffer): Generator<AmqpFrame | 'header'> {
    this.#chunks.push(chunk);
    this.#buffered += chunk.length;
    for (;;) {
      if (this.#buffered < 8) {
        if (this.#headers === 2) checkBeginning(this.#whole());
        return;
      }
      const bytes = this.#whole();
      if (this.#headers > 0 && bytes[0] === 0x41) {
        checkHeader(bytes);
        this.#headers -= 1;
        this.#keep(bytes.subarray(8));
        yield 'header';
        continue;
      }
      if (this.#headers === 2) throw notAmqp();
      const size = bytes.readUInt32BE();
      const start = (bytes[4] ?? 0) * 4;
      if (size < 8 || start < 8 || start > size) throw notAmqp();
      if (size > mostFrameBytes) throw new Fault('SOURCE_ANSWER_INVALID', `sent a frame of ${size} bytes`);
      if (bytes.length < size) return;
      this.#keep(bytes.subarray(size));
      yield decodeFrame(bytes.subarray(start, size));
    }
  }

  #whole(): Buffer {
    const [first = Buffer.alloc(0)] = this.#chunks;
    const whole = this.#chunks.length <= 1 ? first : Buffer.concat(this.#chunks, this.#buffered);
    this.#chunks = [whole];
    return whole;
  }

  #keep(rest: Buffer): void {
    this.#chunks = rest.length === 0 ? [] : [rest];
    this.#buffered = rest.length;
  }
}

function decodeFrame(body: Buffer): AmqpFrame {
  if (body.length === 0) return { performative: undefined, payload: body };
  const reader = new AmqpReader(body);
  const performative = reader.value();
  if (codeOf(performative) === undefined) throw notAmqp();
  return { performative, payload: reader.rest() };
}

function checkBeginning(bytes: Buffer): void {
  if (!'AMQP'.startsWith(bytes.toString('latin1', 0, 4))) throw notAmqp();
}

function checkHeader(bytes: Buffer): void {
  if (bytes.toString('latin1', 0, 4) !== 'AMQP' || bytes[5] !== 1) {
    throw new Fault('SOURCE_ANSWER_INVALID', 'does not speak AMQP 1.0');
  }
}

const notAmqp = () => new Fault('SOURCE_ANSWER_INVALID', 'answered with something that is not AMQP 1.0');

/** The parts of a message that are looked at. */
export interface AmqpMessage {
  /** What the broker says of the delivery; the fifth is how often it failed before. */
  header?: AmqpValue;
  annotations: ReadonlyMap<AmqpValue, AmqpValue>;
  /** The list of standard properties, message id first. */
  properties: AmqpValue;
  applicationProperties: ReadonlyMap<AmqpValue, AmqpValue>;
  /** Bytes, or a value of AMQP. */
  body: AmqpValue;
}

/** @throws Fault SOURCE_ANSWER_INVALID */
export function decodeMessage(bytes: Buffer): AmqpMessage {
  const message: AmqpMessage = {
    annotations: new Map(),
    properties: null,
    applicationProperties: new Map(),
    body: null,
  };
  const data: Buffer[] = [];
  const reader = new AmqpReader(bytes);
  while (!reader.ended) {
    const section = reader.value();
    if (!(section instanceof Described)) throw notAmqp();
    const { value } = section;
    switch (codeOf(section)) {
      case codes.header:
        message.header = value;
        break;
      case codes.messageAnnotations:
        if (value instanceof Map) message.annotations = value;
        break;
      case codes.properties:
        message.properties = value;
        break;
      case codes.applicationProperties:
        if (value instanceof Map) message.applicationProperties = value;
        break;
      case codes.data:
        if (Buffer.isBuffer(value)) data.push(value);
        break;
      case codes.value:
        message.body = value;
        break;
      default:
        break;
    }
  }
  if (data.length > 0) message.body = data.length === 1 ? (data[0] ?? null) : Buffer.concat(data);
  return message;
}

/** A request of the request-response pattern that Azure's `$cbs` and `$management` nodes know. */
export function encodeRequest(request: {
  id: string;
  replyTo: string;
  properties: Readonly<Record<string, string | number>>;
  body: Buffer;
}): Buffer {
  const properties = [
    amqp.string(request.id),
    amqp.null(),
    amqp.null(),
    amqp.null(),
    amqp.string(request.replyTo),
  ];
  const pairs = Object.entries(request.properties).flatMap(([name, value]) => [
    amqp.string(name),
    // The only number among them is the end of a token.
    typeof value === 'string' ? amqp.string(value) : amqp.timestamp(value),
  ]);
  return Buffer.concat([
    amqp.described(codes.properties, amqp.list(properties)),
    amqp.described(codes.applicationProperties, amqp.map(pairs)),
    amqp.described(codes.value, request.body),
  ]);
}
