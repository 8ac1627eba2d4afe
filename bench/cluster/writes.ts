import type { Api } from '../../test/cluster/api.ts';

/** Writes by what was written, such as `patch scaledobjects/status`. */
export class Writes {
  readonly counts: ReadonlyMap<string, number>;

  constructor(counts: ReadonlyMap<string, number>) {
    this.counts = counts;
  }

  get total(): number {
    return [...this.counts.values()].reduce((sum, each) => sum + each, 0);
  }

  /** What came after an earlier count. */
  since(before: Writes): Writes {
    const more = [...this.counts].map(
      ([what, count]) => [what, count - (before.counts.get(what) ?? 0)] as const,
    );
    return new Writes(new Map(more.filter(([, count]) => count > 0)));
  }

  describe(overSeconds: number): string {
    if (this.total === 0) return 'none';
    const each = [...this.counts].map(([what, count]) => `${(count / overSeconds).toFixed(1)}/s ${what}`);
    return each.join(', ');
  }
}

/**
 * What was written since the API server started of the kinds that only an operator writes, by its own count: this
 * sees writes that changed nothing, too. Leases are left out; HorizontalPodAutoscalers get their status and their
 * targets from the controller manager.
 */
export async function countWrites(api: Api): Promise<Writes> {
  const { body } = await api.request('GET', '/metrics');
  const counts = new Map<string, number>();
  for (const line of String(body).split('\n')) {
    const match = /^apiserver_request_total\{([^}]*)\} (\S+)$/.exec(line);
    if (match === null) continue;
    const labels = new Map(
      [...(match[1] ?? '').matchAll(/(\w+)="([^"]*)"/g)].map(([, name = '', value = '']) => [name, value]),
    );
    const [verb = '', group = '', resource = '', subresource = ''] = [
      'verb',
      'group',
      'resource',
      'subresource',
    ].map(name => labels.get(name) ?? '');
    if (!/^(POST|PUT|PATCH|APPLY|DELETE)$/.test(verb)) continue;
    const ours = group === 'keda.sh' || (resource === 'horizontalpodautoscalers' && subresource === '');
    if (!ours) continue;
    const what = `${verb} ${resource}${subresource === '' ? '' : `/${subresource}`}`;
    counts.set(what, (counts.get(what) ?? 0) + Number(match[2]));
  }
  return new Writes(counts);
}
