import { expect, it } from 'vitest';
import { crc32c } from './crc32c.ts';

/** @see https://www.rfc-editor.org/rfc/rfc3720#appendix-B.4 */
it.each([
  ['the digits 1 to 9', Buffer.from('123456789'), 0xe3069283],
  ['32 bytes of zeros', Buffer.alloc(32), 0x8a9136aa],
  ['32 bytes of ones', Buffer.alloc(32, 0xff), 0x62a8ab43],
  ['nothing', Buffer.alloc(0), 0],
])('the checksum of %s is that of the standard', (_title, bytes, sum) => {
  expect(crc32c(bytes)).toBe(sum);
});
