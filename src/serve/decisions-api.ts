import { didYouMean } from '../spec/suggest.ts';
import { json, type ServerAnswer, type ServerRequest, splitUrl } from './handler.ts';

/** What the API tells of; the engine has it. */
export interface DecisionSource {
  /** All workloads. */
  snapshot(): readonly { key: string; kind: string; namespace: string; name: string }[];
  /** The decisions about one workload, oldest first; undefined where there is no such workload. */
  records(key: string): readonly unknown[] | undefined;
  /** Whether this process is the one that decides. */
  readonly leading: boolean;
}

const kinds: Readonly<Record<string, string>> = { scaledobjects: 'ScaledObject', scaledjobs: 'ScaledJob' };

/**
 * The path that `eventide explain` asks for in a cluster. It is one of the group that we serve anyway, so that the
 * API server brings whoever may use it here: it needs the verb `get` on `scaledobjects/decisions` or
 * `scaledjobs/decisions` of external.metrics.k8s.io.
 */
export const decisionsPath = (namespace: string, plural: string, name: string): string =>
  `/apis/external.metrics.k8s.io/v1beta1/namespaces/${encodeURIComponent(namespace)}/${plural}/${encodeURIComponent(name)}/decisions`;

const pattern =
  /^\/apis\/external\.metrics\.k8s\.io\/v1beta1\/namespaces\/([^/]+)\/(scaledobjects|scaledjobs)\/([^/]+)\/decisions$/;

/** Answers a request for the decisions about one workload, `?last=N` of them; undefined where it asks for something else. */
export function decisions(source: DecisionSource, request: ServerRequest): ServerAnswer | undefined {
  const { path, query } = splitUrl(request.url);
  const match = pattern.exec(path);
  if (match === null) return undefined;
  if (request.method !== 'GET') return status(405, 'MethodNotAllowed', 'only GET is answered here');
  const [namespace = '', plural = '', name = ''] = match.slice(1).map(part => decode(part));
  const last = Number(query.get('last') ?? 5);
  if (!Number.isInteger(last) || last < 1)
    return status(400, 'BadRequest', '"last" is not a whole number above zero');
  if (!source.leading) {
    return status(
      503,
      'ServiceUnavailable',
      'this process stands by; the one that leads knows what was decided',
    );
  }
  const kind = kinds[plural] ?? '';
  const records = source.records(`${kind}/${namespace}/${name}`);
  if (records === undefined) return status(404, 'NotFound', missing(source, { kind, namespace, name }));
  return json({
    kind: 'DecisionList',
    workload: `${kind}/${namespace}/${name}`,
    items: records.slice(-last),
  });
}

function missing(
  source: DecisionSource,
  { kind, namespace, name }: { kind: string; namespace: string; name: string },
): string {
  const names = source
    .snapshot()
    .filter(each => each.kind === kind && each.namespace === namespace)
    .map(each => each.name);
  return `no ${kind} "${name}" of namespace "${namespace}" is being run${didYouMean(name, names)}`;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function status(code: number, reason: string, message: string): ServerAnswer {
  return json({ kind: 'Status', apiVersion: 'v1', status: 'Failure', reason, code, message }, code);
}
