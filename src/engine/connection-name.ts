/** How long a name is where the source does not say less, in characters. */
const usualLength = 200;

/**
 * What the owner of a source reads in its list of connections: whose it is, and for which workloads.
 *
 * @param workloads each once, the ones to be named first in front
 * @param most how many characters; as many workloads are named as fit, the first one in any case, and the others
 * are counted
 * @returns such as `eventide for shop/orders, shop/mail and 12 more`
 */
export function connectionName(
  clientName: string,
  workloads: readonly string[],
  most: number = usualLength,
): string {
  const [first, ...others] = workloads;
  if (first === undefined) return clientName;
  let name = `${clientName} for ${first}`;
  let left = others.length;
  const tooLong = name.length + more(left).length - most;
  if (tooLong > 0) return `${name.slice(0, -tooLong - ellipsis.length)}${ellipsis}${more(left)}`;
  for (const workload of others) {
    const longer = `${name}, ${workload}`;
    if (longer.length + more(left - 1).length > most) break;
    name = longer;
    left -= 1;
  }
  return `${name}${more(left)}`;
}

/** Not every source takes more than ASCII. */
const ellipsis = '...';

function more(count: number): string {
  return count === 0 ? '' : ` and ${count} more`;
}
