import { isDeepStrictEqual } from 'node:util';
import { faultOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { documentOf, type ManifestDocument } from '../spec/documents.ts';
import { descend, shortened } from '../spec/field-path.ts';
import { type Manifest, parseManifest } from '../spec/manifest.ts';
import { formatProblem, type Problem } from '../spec/problem.ts';
import type { Surroundings } from '../spec/surroundings.ts';
import { reasonOf, validate } from '../spec/validate.ts';
import type { Parsed, ScaledObject } from '../spec/workload.ts';
import type { AdmissionAction, AdmissionCounts } from './admission-counts.ts';
import { type ReviewRequest, readReview, reviewAnswer, type Verdict } from './admission-review.ts';
import { type Handler, headerOf, json, type ServerAnswer, splitUrl } from './handler.ts';

/** What admission needs to know of the cluster. */
export interface Neighbourhood {
  /**
   * What is around an object, as far as its rules look at it.
   *
   * @throws Faults where nobody can tell: the API server's failurePolicy then decides
   */
  around(
    manifest: Manifest,
    circumstances: Pick<Surroundings, 'operation' | 'dryRun'>,
    signal: AbortSignal,
  ): Promise<Surroundings>;
  /** A ScaledObject was let in, and will be stored unless somebody else objects. */
  admitted(workload: ScaledObject): void;
}

export interface AdmissionOptions {
  neighbourhood: Neighbourhood;
  counts: AdmissionCounts;
  log: Log;
}

/** The paths of the webhooks, which are KEDA's, with the kind that each is for. */
export const admissionPaths: Readonly<Record<string, { group: string; kind: string }>> = {
  '/validate-keda-sh-v1alpha1-scaledobject': { group: 'keda.sh', kind: 'ScaledObject' },
  '/validate-keda-sh-v1alpha1-scaledjob': { group: 'keda.sh', kind: 'ScaledJob' },
  '/validate-keda-sh-v1alpha1-triggerauthentication': { group: 'keda.sh', kind: 'TriggerAuthentication' },
  '/validate-keda-sh-v1alpha1-clustertriggerauthentication': {
    group: 'keda.sh',
    kind: 'ClusterTriggerAuthentication',
  },
  '/validate-eventing-keda-sh-v1alpha1-cloudeventsource': {
    group: 'eventing.keda.sh',
    kind: 'CloudEventSource',
  },
  '/validate-eventing-keda-sh-v1alpha1-clustercloudeventsource': {
    group: 'eventing.keda.sh',
    kind: 'ClusterCloudEventSource',
  },
};

/** The bytes a review may have: an object of etcd's greatest size, as it was and as it is to be, with room. */
export const admissionBodyLimit = 7 * 1024 * 1024;

/**
 * Answers the admission webhooks of all kinds: POST of an AdmissionReview of admission.k8s.io/v1. What KEDA or its
 * CRDs would refuse is refused; everything else is let in, with a warning where it is worth one. What is no review
 * is answered with 400, 404, 405 or 415 and a sentence; 503 says that nobody could tell, so that the failurePolicy
 * of the webhook decides.
 */
export function admission(options: AdmissionOptions): Handler {
  return async request => {
    const { path } = splitUrl(request.url);
    const wanted = Object.hasOwn(admissionPaths, path) ? admissionPaths[path] : undefined;
    if (wanted === undefined) return sentence(404, `there is no webhook at ${shortened(path)}`);
    if (request.method !== 'POST') return sentence(405, 'only POST is answered here');
    const type = headerOf(request, 'content-type') ?? '';
    if (!/^application\/json\s*(;|$)/i.test(type)) return sentence(415, 'the body must be application/json');
    const review = readReview(request.body);
    if (typeof review === 'string') return sentence(400, review);
    if (review.group !== wanted.group || review.kind !== wanted.kind) {
      return sentence(400, `this webhook is for ${wanted.kind} of ${wanted.group}`);
    }
    try {
      const verdict = await judge(review, options, request.signal);
      return typeof verdict === 'string' ? sentence(400, verdict) : json(reviewAnswer(review.uid, verdict));
    } catch (thrown) {
      if (thrown instanceof RangeError) return sentence(400, 'the object nests too deeply');
      const fault = faultOf(thrown);
      options.log.warn('an object could not be judged', { kind: review.kind, fault });
      return sentence(503, `the object could not be judged: ${fault.message}`);
    }
  };
}

/** As text: the API server passes it on to whoever made the object. */
const sentence = (status: number, body: string): ServerAnswer => ({
  status,
  headers: { 'content-type': 'text/plain; charset=utf-8' },
  body,
});

const allowed: Verdict = { allowed: true };

/** @returns a sentence where the review does not say what is to be judged */
async function judge(
  review: ReviewRequest,
  options: AdmissionOptions,
  signal: AbortSignal,
): Promise<Verdict | string> {
  const { operation, object, subresource, kind } = review;
  if ((operation !== 'CREATE' && operation !== 'UPDATE') || subresource !== '') return allowed;
  if (object === undefined) return 'the request has no object';
  const document = { ...documentOf(object), namespace: review.namespace };
  const parsed = object['kind'] === kind ? parseManifest(document) : undefined;
  if (parsed === undefined) return `the object of the request is no ${kind} of ${review.group}`;
  if (operation === 'UPDATE' && onlyRemovesFinalizers(review)) return allowed;
  const action = operation === 'CREATE' ? 'create' : 'update';
  return await judgeObject(review, { document, parsed, action }, { ...options, signal });
}

/**
 * Whoever cleans up after an object that is being deleted must not be stopped by a rule. KEDA lets a ScaledObject
 * lose any of its finalizers so, and every other kind its only one.
 */
function onlyRemovesFinalizers({ kind, object, oldObject }: ReviewRequest): boolean {
  const [before, after] = [finalizers(oldObject), finalizers(object)];
  const fewer = kind === 'ScaledObject' ? after < before : after === 0 && before === 1;
  return fewer && isDeepStrictEqual(descend(object, ['spec']), descend(oldObject, ['spec']));
}

function finalizers(object: unknown): number {
  const found = descend(object, ['metadata', 'finalizers']);
  return Array.isArray(found) ? found.length : 0;
}

interface Judged {
  document: ManifestDocument;
  parsed: Parsed<Manifest>;
  action: AdmissionAction;
}

async function judgeObject(
  { kind, namespace, dryRun }: ReviewRequest,
  { document, parsed, action }: Judged,
  { neighbourhood, counts, log, signal }: AdmissionOptions & { signal: AbortSignal },
): Promise<Verdict> {
  if (kind === 'ScaledObject') counts.validated(namespace, action);
  const odd = parsed.ok ? [] : parsed.problems;
  const manifest = parsed.ok ? parsed.value : parsed.admissible;
  if (manifest === undefined) return refusal(odd);
  const around = await neighbourhood.around(manifest, { operation: action, dryRun }, signal);
  const found = validate({ manifest, document }, around);
  if (found.problems.length > 0) {
    const reasons = found.problems.map(({ rule = '' }) => reasonOf(rule));
    for (const reason of new Set(reasons))
      if (reason !== undefined) counts.refused(namespace, action, reason);
    const verdict = refusal(found.problems);
    log.info('an object was refused', { kind, namespace, name: document.name, why: verdict.message });
    return verdict;
  }
  if (manifest.kind === 'ScaledObject' && !dryRun) neighbourhood.admitted(manifest);
  return { allowed: true, warnings: [...odd, ...parsed.notices, ...found.notices].map(formatProblem) };
}

const mostProblems = 10;

function refusal(problems: readonly Problem[]): Verdict {
  const shown = problems.slice(0, mostProblems).map(formatProblem);
  const more = problems.length - shown.length;
  return { allowed: false, message: `${shown.join('; ')}${more > 0 ? `; and ${more} more` : ''}` };
}
