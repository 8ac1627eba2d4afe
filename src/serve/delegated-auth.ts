import { createHash } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { faultOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { AnswerCache } from './answer-cache.ts';
import { type ClientTrust, identify, type User, withAuthenticated } from './client-identity.ts';
import { type Handler, headerOf, type ServerAnswer, type ServerRequest } from './handler.ts';
import { type RequestInfo, requestInfo } from './request-info.ts';
import { failure } from './status.ts';

/** What is asked of the API server about a user; one of the two attributes is given. */
export interface AccessQuestion {
  user: User;
  resource?: {
    namespace: string;
    verb: string;
    group: string;
    version: string;
    resource: string;
    subresource?: string;
    name?: string;
  };
  nonResource?: { path: string; verb: string };
}

/** The API server, which knows its tokens and who may do what. */
export interface Reviewer {
  /** @returns undefined where nobody has this token. @throws Fault where it does not answer */
  tokenReview(token: string): Promise<User | undefined>;
  /** @throws Fault where it does not answer */
  subjectAccessReview(question: AccessQuestion): Promise<{ allowed: boolean; reason: string }>;
}

export interface DelegatedAuthOptions {
  reviewer: Reviewer;
  /** Whose clients are believed at this moment. */
  trust(): ClientTrust;
  clock: Clock;
  log: Log;
}

/** As long as k8s.io/apiserver keeps what it was told: short enough for a change to be felt, long enough for a storm. */
const keepMs = 10_000;

/** Whoever watches over us may ask whether we are well without showing who they are. */
const openPaths = new Set(['/healthz', '/livez', '/readyz']);

/** The API server lets these do anything, so that asking it would be of no use. */
const masters = 'system:masters';

const anonymous: User = { name: 'system:anonymous', groups: ['system:unauthenticated'], extra: {} };

/**
 * Lets those through to a handler whom the cluster's API server knows and allows: by the headers of a front proxy, a
 * client certificate or a token, as k8s.io/apiserver does for servers behind the aggregation layer.
 *
 * @returns a function that guards a handler
 */
export function delegatedAuth({
  reviewer,
  trust,
  clock,
  log,
}: DelegatedAuthOptions): (handler: Handler) => Handler {
  const tokens = new AnswerCache<User | undefined>(clock, keepMs);
  const access = new AnswerCache<{ allowed: boolean; reason: string }>(clock, keepMs);

  const review = (question: AccessQuestion) =>
    access.get(JSON.stringify(question), () => reviewer.subjectAccessReview(question));

  async function authenticate(request: ServerRequest): Promise<User | undefined> {
    const shown = identify(request, trust(), clock.now());
    if (shown.user !== undefined) return shown.user;
    const token = bearerOf(request);
    if (token === undefined) return shown.refused ? undefined : anonymous;
    const hash = createHash('sha256').update(token).digest('base64');
    const user = await tokens.get(hash, () => reviewer.tokenReview(token));
    return user && withAuthenticated(user);
  }

  async function authorize(user: User, info: RequestInfo): Promise<{ allowed: boolean; reason: string }> {
    if (user.groups.includes(masters)) return { allowed: true, reason: '' };
    if (info.resource === undefined) {
      return review({ user, nonResource: { path: info.path, verb: info.verb } });
    }
    const { verb, group, version, namespace, resource, name, subresource } = info;
    // Who may read all metrics, as an autoscaler may, is asked about once and not for each of a thousand metrics.
    // "*" and no namespace are the API's own words for all of them.
    const all = await review({ user, resource: { namespace: '', verb, group, version, resource: '*' } });
    if (all.allowed) return all;
    return review({ user, resource: { namespace, verb, group, version, resource, subresource, name } });
  }

  return handler => async request => {
    const info = requestInfo(request);
    if (info === undefined) return failure('BadRequest', `the path ${request.url} is not encoded rightly`);
    if (openPaths.has(info.path)) return handler(request);
    try {
      const user = await authenticate(request);
      if (user === undefined) return failure('Unauthorized', 'Unauthorized');
      const { allowed, reason } = await authorize(user, info);
      if (!allowed) return forbidden(user, info, reason);
    } catch (thrown) {
      const fault = faultOf(thrown);
      log.warn('the API server did not say who may ask for metrics', { fault });
      return failure(
        'InternalError',
        `whether this is allowed could not be asked of the API server: ${fault.message}`,
      );
    }
    return handler(request);
  };
}

function bearerOf(request: ServerRequest): string | undefined {
  const [, token] = /^bearer +(\S+) *$/i.exec(headerOf(request, 'authorization') ?? '') ?? [];
  return token;
}

/** In the words of k8s.io/apiserver, which people search the web for. */
function forbidden(user: User, info: RequestInfo, reason: string): ServerAnswer {
  const because = reason === '' ? '' : `: ${reason}`;
  const who = `User ${quoted(user.name)} cannot ${info.verb}`;
  if (info.resource === undefined) {
    return failure('Forbidden', `forbidden: ${who} path ${quoted(info.path)}${because}`, {});
  }
  const { group, resource, subresource, namespace, name } = info;
  const what = quoted(subresource === '' ? resource : `${resource}/${subresource}`);
  const where = namespace === '' ? 'at the cluster scope' : `in the namespace ${quoted(namespace)}`;
  const named = name === '' ? '' : ` ${quoted(name)}`;
  return failure(
    'Forbidden',
    `${resource}.${group}${named} is forbidden: ${who} resource ${what} in API group ${quoted(group)} ${where}${because}`,
    name === '' ? { group, kind: resource } : { name, group, kind: resource },
  );
}

/** Nothing in it can be taken for a page by a browser. */
function quoted(text: string): string {
  return JSON.stringify(text).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
