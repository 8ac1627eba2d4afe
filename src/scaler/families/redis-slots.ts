/** A cluster spreads its keys over this many slots. */
export const slotCount = 16_384;

const table = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit += 1) crc = (crc & 0x8000) === 0 ? crc << 1 : (crc << 1) ^ 0x1021;
  return crc;
});

/** The slot of a key: CRC-16/XMODEM of its hash tag, or of the whole where it has none. */
export function slotOf(key: string): number {
  let crc = 0;
  for (const byte of Buffer.from(hashTag(key) ?? key)) {
    crc = ((crc << 8) ^ (table[((crc >> 8) ^ byte) & 0xff] ?? 0)) & 0xffff;
  }
  return crc % slotCount;
}

/** What stands between the first `{` and the next `}`, where that is something. */
function hashTag(key: string): string | undefined {
  const start = key.indexOf('{');
  const end = start === -1 ? -1 : key.indexOf('}', start + 1);
  return end > start + 1 ? key.slice(start + 1, end) : undefined;
}

/**
 * The name of a key that belongs to another one and lies in the same slot: `orders:x`, in a cluster
 * `{orders}:x`.
 *
 * @returns undefined where no name of this form lies in the slot
 */
export function siblingKey(key: string, suffix: string, inCluster: boolean): string | undefined {
  const plain = `${key}${suffix}`;
  if (!inCluster || slotOf(plain) === slotOf(key)) return plain;
  const tagged = `{${key}}${suffix}`;
  return slotOf(tagged) === slotOf(key) ? tagged : undefined;
}
