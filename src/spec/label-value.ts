import { fingerprint } from '../base/secret.ts';

const longest = 63;

/**
 * A name as the value of a label, which holds 63 characters: as it is where it fits, otherwise shortened and made
 * distinct by a hash. KEDA fails on such names; everything that selects by the label has to ask this function.
 */
export function labelValue(name: string): string {
  if (name.length <= longest) return name;
  const mark = `-${fingerprint(name).slice(0, 8)}`;
  return name.slice(0, longest - mark.length).replace(/[^A-Za-z0-9]+$/, '') + mark;
}
