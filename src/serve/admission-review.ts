import { isRecord } from '../spec/field-path.ts';

/** What the API server asks about one object. */
export interface ReviewRequest {
  uid: string;
  operation: string;
  group: string;
  kind: string;
  /** Empty for the object itself. */
  subresource: string;
  namespace: string;
  dryRun: boolean;
  /** Undefined where something is deleted. */
  object: Readonly<Record<string, unknown>> | undefined;
  /** Undefined where something is created. */
  oldObject: Readonly<Record<string, unknown>> | undefined;
}

/** What it is told. */
export interface Verdict {
  allowed: boolean;
  /** Why not, in sentences. */
  message?: string;
  warnings?: readonly string[];
}

const version = 'admission.k8s.io/v1';

/** Reads the body of a review. @returns a sentence where it is none */
export function readReview(body: Buffer): ReviewRequest | string {
  const review = parseJson(body);
  if (!isRecord(review)) return 'the body is not a JSON object';
  if (review['kind'] !== 'AdmissionReview' || review['apiVersion'] !== version) {
    return `the body is not an AdmissionReview of ${version}`;
  }
  const request = review['request'];
  if (!isRecord(request)) return 'the AdmissionReview has no request';
  const { uid, operation } = request;
  if (typeof uid !== 'string' || uid === '' || uid.length > 256) return 'the request has no uid';
  if (typeof operation !== 'string') return 'the request has no operation';
  const kind = isRecord(request['kind']) ? request['kind'] : {};
  return {
    uid,
    operation,
    group: textOf(kind['group']),
    kind: textOf(kind['kind']),
    subresource: textOf(request['subResource']),
    namespace: textOf(request['namespace']),
    dryRun: request['dryRun'] === true,
    object: isRecord(request['object']) ? request['object'] : undefined,
    oldObject: isRecord(request['oldObject']) ? request['oldObject'] : undefined,
  };
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    return undefined;
  }
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

/** The body of the answer to a review. */
export function reviewAnswer(uid: string, { allowed, message, warnings = [] }: Verdict): object {
  return {
    apiVersion: version,
    kind: 'AdmissionReview',
    response: {
      uid,
      allowed,
      ...(warnings.length === 0 ? {} : { warnings: warnings.slice(0, mostWarnings).map(asWarning) }),
      ...(allowed ? {} : { status: { status: 'Failure', code: 403, reason: 'Forbidden', message } }),
    },
  };
}

const mostWarnings = 16;
const longestWarning = 250;

/** The API server sends a warning as a header, drops one with control characters and cuts one that is long. */
function asWarning(text: string): string {
  const plain = text.replaceAll(/\p{Cc}+/gu, ' ');
  return plain.length > longestWarning
    ? `${plain.slice(0, longestWarning - 1).replace(/[\ud800-\udbff]$/, '')}…`
    : plain;
}
