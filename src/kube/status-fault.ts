import { Fault, type FaultCode } from '../base/errors.ts';

/** What the API server answers instead of an object. */
export interface Status {
  kind: 'Status';
  message?: string;
  reason?: string;
  code?: number;
  details?: {
    name?: string;
    retryAfterSeconds?: number;
    causes?: readonly { reason?: string; message?: string; field?: string }[];
  };
}

export function isStatus(value: unknown): value is Status {
  return typeof value === 'object' && value !== null && (value as { kind?: unknown }).kind === 'Status';
}

/**
 * The Fault that a status stands for.
 *
 * @param code the HTTP status
 * @param status undefined where the answer was not a Status, such as from a proxy on the way
 * @param doing what was asked for, for people: `patch Deployment shop/web`
 */
export function statusFault(
  code: number,
  status: Status | undefined,
  { doing, retryAfterMs }: { doing: string; retryAfterMs?: number | undefined },
): Fault {
  const message = status?.message || (status?.reason ?? `the API server answered ${code}`);
  return new Fault(
    codeOf(code, status),
    `cannot ${doing}: ${message}`,
    retryAfterMs === undefined ? {} : { retryAfterMs },
  );
}

function codeOf(code: number, status: Status | undefined): FaultCode {
  // A version from the future, as after etcd was restored from a backup, is as useless as one from the past.
  if (status?.details?.causes?.some(cause => cause.reason === 'ResourceVersionTooLarge'))
    return 'KUBE_EXPIRED';
  switch (code) {
    case 400:
    case 422:
      return 'KUBE_INVALID';
    case 401:
    case 403:
      return 'KUBE_REFUSED';
    case 404:
      return 'KUBE_NOT_FOUND';
    case 409:
      return status?.reason === 'AlreadyExists' ? 'KUBE_EXISTS' : 'KUBE_CONFLICT';
    case 410:
      return 'KUBE_EXPIRED';
    default:
      return 'KUBE_FAILED';
  }
}
