import { createHash } from 'node:crypto';
import { meansJson, type Wish, wishesOf } from './accept.ts';
import { aggregated, documents } from './discovery.ts';
import { headerOf, type ServerAnswer, type ServerRequest } from './handler.ts';
import { openapiV2, openapiV3, openapiV3Index, openapiV3Path } from './openapi.ts';
import { failure } from './status.ts';

/** A document that never changes while we run. */
interface Document {
  body: string;
  type: string;
  etag: string;
}

function documentOf(content: object, type = 'application/json'): Document {
  const body = JSON.stringify(content);
  const hash = createHash('sha512').update(body).digest('hex').toUpperCase();
  return { body, type, etag: `"${hash}"` };
}

const aggregatedType = (version: string) =>
  `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`;

/** Discovery and OpenAPI: everything about the metrics API but the metrics. */
export function staticDocuments(
  versionOfUs: string,
): (request: ServerRequest, path: string) => ServerAnswer | undefined {
  const v3 = documentOf(openapiV3);
  const plain = new Map<string, Document>([
    ...Object.entries(documents).map(([path, content]) => [path, documentOf(content)] as const),
    ['/version', documentOf({ major: '', minor: '', gitVersion: versionOfUs })],
    ['/openapi/v2', documentOf(openapiV2)],
    ['/openapi/v3', documentOf(openapiV3Index(v3.etag.replaceAll('"', '')))],
    [openapiV3Path, v3],
  ]);
  const versions = new Map(
    ['v2', 'v2beta1'].map(version => [version, documentOf(aggregated(version), aggregatedType(version))]),
  );

  const choose = (path: string, wish: Wish): Document | undefined => {
    const { g, v, as } = wish.parameters;
    if (as === undefined) return plain.get(path);
    const isAggregated = path === '/apis' && g === 'apidiscovery.k8s.io' && as === 'APIGroupDiscoveryList';
    return isAggregated ? versions.get(v ?? '') : undefined;
  };

  return (request, asked) => {
    const path = asked.length > 1 && asked.endsWith('/') ? asked.slice(0, -1) : asked;
    if (!plain.has(path)) return undefined;
    const document = wishesOf(headerOf(request, 'accept'))
      .filter(meansJson)
      .map(wish => choose(path, wish))
      .find(found => found !== undefined);
    if (document === undefined) return notAcceptable();
    const headers = { etag: document.etag, vary: 'Accept' };
    if (headerOf(request, 'if-none-match') === document.etag) return { status: 304, headers };
    return { status: 200, headers: { ...headers, 'content-type': document.type }, body: document.body };
  };
}

export const notAcceptable = (): ServerAnswer =>
  failure('NotAcceptable', 'only the following media types are accepted: application/json');
