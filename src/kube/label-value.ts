import { fingerprint } from '../base/secret.ts';

const longestValue = 63;

/** A name as the value of a label: one of more than 63 characters is cut and made distinct by a hash of its own. */
export function labelValue(name: string): string {
  if (name.length <= longestValue) return name;
  const mark = `-${fingerprint(name).slice(0, 8)}`;
  return name.slice(0, longestValue - mark.length).replace(/[^a-z0-9]+$/, '') + mark;
}
