import { Fault } from './errors.ts';

/** Tags of ASN.1 that certificates are made of. */
export const tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  utf8: 0x0c,
  sequence: 0x30,
  set: 0x31,
  utcTime: 0x17,
  generalizedTime: 0x18,
  /** `[n]`, holding other elements. */
  explicit: (n: number) => 0xa0 | n,
  /** `[n]`, holding bytes in place of another tag. */
  implicit: (n: number) => 0x80 | n,
} as const;

/** One element of DER: its tag, the length of its content, its content. */
export function element(kind: number, ...content: readonly Uint8Array[]): Buffer {
  const bytes = Buffer.concat(content);
  return Buffer.concat([Buffer.from([kind, ...lengthOf(bytes.length)]), bytes]);
}

export const sequence = (...content: readonly Uint8Array[]): Buffer => element(tag.sequence, ...content);

/** A whole number that is not negative, from its bytes, the highest first. */
export function unsigned(bytes: Uint8Array): Buffer {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const short = bytes.subarray(start);
  // A first bit of one would make it negative.
  return element(tag.integer, (short[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.alloc(1), short]) : short);
}

/** Bits that are whole bytes. */
export const bitString = (bytes: Uint8Array): Buffer => element(tag.bitString, Buffer.alloc(1), bytes);

export const utf8 = (text: string): Buffer => element(tag.utf8, Buffer.from(text));

/** An object identifier, such as `2.5.4.3`. */
export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return element(0x06, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]));
}

/** @param at epoch milliseconds; cut to whole seconds */
export function time(at: number): Buffer {
  const text = `${new Date(at).toISOString().replace(/\.\d+/, '').replace(/[-:T]/g, '')}`;
  const short = Number(text.slice(0, 4)) < 2050;
  return element(short ? tag.utcTime : tag.generalizedTime, Buffer.from(short ? text.slice(2) : text));
}

/** One element as it was read. */
export interface Element {
  tag: number;
  content: Buffer;
  /** With tag and length. */
  whole: Buffer;
}

/**
 * The elements that lie one after another in some bytes.
 *
 * @throws Fault PARAM_INVALID where they are cut off or longer than anything we read
 */
export function elementsOf(bytes: Buffer): Element[] {
  const found: Element[] = [];
  let at = 0;
  while (at < bytes.length) {
    let length = bytes[at + 1] ?? 0;
    let start = at + 2;
    if (length > 0x80) {
      const size = length - 0x80;
      if (size > 4 || start + size > bytes.length) throw cutOff();
      length = bytes.readUIntBE(start, size);
      start += size;
    }
    const end = start + length;
    if (end > bytes.length) throw cutOff();
    found.push({ tag: bytes[at] ?? 0, content: bytes.subarray(start, end), whole: bytes.subarray(at, end) });
    at = end;
  }
  return found;
}

const cutOff = () => new Fault('PARAM_INVALID', 'the certificate ends in the middle');

function lengthOf(length: number): number[] {
  if (length < 0x80) return [length];
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return [0x80 | bytes.length, ...bytes];
}

function base128(value: number): number[] {
  const bytes = [value & 0x7f];
  for (let rest = value >> 7; rest > 0; rest >>= 7) bytes.unshift((rest & 0x7f) | 0x80);
  return bytes;
}
