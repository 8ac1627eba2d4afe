import type { Clock } from '../base/clock.ts';
import type { MetricAnswer } from '../engine/trigger-answers.ts';
import { meansJson, wishesOf } from './accept.ts';
import { group, version } from './discovery.ts';
import { type Handler, headerOf, type ServerAnswer, type ServerRequest } from './handler.ts';
import { metricList, metricTable } from './metric-list.ts';
import { type RequestInfo, requestInfo } from './request-info.ts';
import { notAcceptable, staticDocuments } from './static-documents.ts';
import { failure } from './status.ts';

/** Who knows the values. */
export interface MetricSource {
  /** Whether every ScaledObject is known, so that one which is not is really not there. */
  readonly ready: boolean;
  /** What an autoscaler is told of a metric of a workload, by the workload's key. Never throws. */
  readMetric(key: string, metricName: string): Promise<MetricAnswer>;
}

export interface MetricsApiOptions {
  source: MetricSource;
  clock: Clock;
  /** Of us, told at `/version`. */
  version: string;
}

const nameLabel = 'scaledobject.keda.sh/name';

/**
 * The API that HorizontalPodAutoscalers read: `external.metrics.k8s.io/v1beta1` as KEDA serves it, with its
 * discovery and its OpenAPI documents. Values are not served before every ScaledObject is known; the rest always is,
 * as a cluster whose discovery fails can delete no namespace.
 */
export function metricsApi({ source, clock, version: ours }: MetricsApiOptions): Handler {
  const documentOf = staticDocuments(ours);
  return request => {
    const info = requestInfo(request);
    if (info === undefined) return failure('BadRequest', `the path ${request.url} is not encoded rightly`);
    if (isMetric(info)) {
      if (request.method !== 'GET' || info.verb !== 'list') return notAllowed(request, info.verb);
      return answerMetric(request, info, { source, clock });
    }
    const known = healthOf(info.path, source) ?? documentOf(request, info.path);
    if (known === undefined)
      return failure('NotFound', 'the server could not find the requested resource', {});
    return request.method === 'GET' || request.method === 'HEAD' ? known : notAllowed(request, info.verb);
  };
}

type ResourceInfo = Extract<RequestInfo, { resource: string }>;

function isMetric(info: RequestInfo): info is ResourceInfo {
  return (
    info.resource !== undefined &&
    info.group === group &&
    info.version === version &&
    info.namespace !== '' &&
    info.name === ''
  );
}

async function answerMetric(
  request: ServerRequest,
  { namespace, resource: metric, query }: ResourceInfo,
  { source, clock }: Pick<MetricsApiOptions, 'source' | 'clock'>,
): Promise<ServerAnswer> {
  const form = formOf(headerOf(request, 'accept'));
  if (form === undefined) return notAcceptable();
  if (!source.ready) {
    return failure('ServiceUnavailable', 'the ScaledObjects of the cluster are not all known yet; try again');
  }
  const name = scaledObjectOf(query.get('labelSelector') ?? '');
  if (typeof name !== 'string') return name;
  const answer = await source.readMetric(`ScaledObject/${namespace}/${name}`, metric);
  switch (answer.kind) {
    case 'values':
      return form(answer.values, clock.now());
    case 'missing':
      return failure(
        'NotFound',
        `there is no ScaledObject "${name}" with a metric "${metric}" in namespace "${namespace}"`,
        { name: metric, group, kind: 'externalmetrics' },
      );
    case 'failed':
      return failure(
        'InternalError',
        `metric "${metric}" of ScaledObject "${name}": ${answer.fault.message}`,
      );
  }
}

/** The name in a selector, or what is said of a selector without one: like KEDA's, an error of the server. */
function scaledObjectOf(selector: string): string | ServerAnswer {
  for (const part of selector.split(',')) {
    const [label = '', value, ...more] = part.split('=').map(text => text.trim());
    if (part !== '' && (value === undefined || more.length > 0 || /[!()]/.test(label))) {
      return failure('InternalError', `the selector "${selector}" is not a list of label=value`);
    }
    if (label === nameLabel && value !== undefined && value !== '') return value;
  }
  return failure(
    'InternalError',
    `which ScaledObject is meant is not said: the selector must have ${nameLabel}=<name>`,
  );
}

type Form = typeof metricList;

// Few clients ask, each always with the same words.
const forms = new Map<string, Form | undefined>();
const mostForms = 100;

/** What the first thing that the client would like and we have is made by; undefined where there is none. */
function formOf(accept = ''): Form | undefined {
  const known = forms.get(accept);
  if (known !== undefined) return known;
  const wish = wishesOf(accept)
    .filter(meansJson)
    .find(({ parameters: { as, g, v } }) => as === undefined || isTable(as, g, v));
  const form = wish && (wish.parameters['as'] === undefined ? metricList : metricTable);
  if (forms.size >= mostForms) forms.clear();
  forms.set(accept, form);
  return form;
}

const isTable = (as: string, g: string | undefined, v: string | undefined) =>
  as === 'Table' && g === 'meta.k8s.io' && v === 'v1';

function healthOf(path: string, source: MetricSource): ServerAnswer | undefined {
  const plain = { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' };
  switch (path) {
    case '/readyz':
      if (!source.ready) {
        return {
          status: 503,
          headers: plain,
          body: 'the ScaledObjects of the cluster are not all known yet\n',
        };
      }
      return { status: 200, headers: plain, body: 'ok' };
    case '/healthz':
    case '/livez':
      return { status: 200, headers: plain, body: 'ok' };
    default:
      return undefined;
  }
}

function notAllowed({ method }: ServerRequest, verb: string): ServerAnswer {
  return failure(
    'MethodNotAllowed',
    `${verb === 'watch' ? 'watching' : method} is not possible here: metrics are only read`,
    {},
  );
}
