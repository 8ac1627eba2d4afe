import { networkInterfaces } from 'node:os';

/** Every interface, of both versions of IP where the machine has both. */
export function everywhere(): string {
  const addresses = Object.values(networkInterfaces()).flatMap(each => each ?? []);
  return addresses.some(({ family }) => family === 'IPv6') ? '::' : '0.0.0.0';
}
