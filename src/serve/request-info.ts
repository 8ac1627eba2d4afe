import { type ServerRequest, splitUrl } from './handler.ts';

/** What a request is about, in the terms in which Kubernetes grants access. */
export type RequestInfo = {
  /** Decoded. */
  path: string;
  query: URLSearchParams;
  verb: string;
} & (
  | { resource?: undefined }
  | {
      group: string;
      version: string;
      /** Empty for what has no namespace. */
      namespace: string;
      resource: string;
      /** Empty where it is about all of them. */
      name: string;
      subresource: string;
    }
);

const verbs: Record<string, string> = {
  POST: 'create',
  GET: 'get',
  HEAD: 'get',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
};

/**
 * Reads a request as the API server would (k8s.io/apiserver, endpoints/request). Both who may ask and what is
 * answered go by this one reading, so that no path can mean one thing to the guard and another to the guarded.
 *
 * @returns undefined where the path is not even encoded rightly
 */
export function requestInfo({ method, url }: ServerRequest): RequestInfo | undefined {
  const { path: encoded, query } = splitUrl(url);
  const path = encoded.includes('%') ? decode(encoded) : encoded;
  if (path === undefined) return undefined;
  const parts = path.split('/').filter(part => part !== '');
  const plain = { path, query, verb: method.toLowerCase() };
  const [root, group = '', version = '', ...rest] = parts;
  if (root !== 'apis' || rest.length === 0) return plain;
  const inNamespace = rest[0] === 'namespaces' && rest.length > 2;
  const [resource = '', name = '', subresource = ''] = inNamespace ? rest.slice(2) : rest;
  return {
    path,
    query,
    verb: verbOf(method, name, query),
    group,
    version,
    namespace: inNamespace ? (rest[1] ?? '') : '',
    resource,
    name,
    subresource,
  };
}

function verbOf(method: string, name: string, query: URLSearchParams): string {
  const verb = verbs[method] ?? '';
  if (name !== '') return verb;
  if (verb === 'delete') return 'deletecollection';
  if (verb !== 'get') return verb;
  const watch = query.get('watch');
  return watch === null || watch === 'false' || watch === '0' ? 'list' : 'watch';
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
