import type { ServerAnswer } from './handler.ts';

/** The reasons of `Status` that we give, with the code that goes with each. */
const codes = {
  BadRequest: 400,
  Unauthorized: 401,
  Forbidden: 403,
  NotFound: 404,
  MethodNotAllowed: 405,
  NotAcceptable: 406,
  InternalError: 500,
  ServiceUnavailable: 503,
} as const;

/** What an error is about, as far as it is about an object. */
export interface StatusDetails {
  name?: string;
  group?: string;
  kind?: string;
}

/** An error as Kubernetes' clients expect one: a `Status` with a reason for machines and a sentence for people. */
export function failure(reason: keyof typeof codes, message: string, details?: StatusDetails): ServerAnswer {
  return {
    status: codes[reason],
    headers: { 'content-type': 'application/json', 'x-content-type-options': 'nosniff' },
    body: JSON.stringify({
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message,
      reason,
      details,
      code: codes[reason],
    }),
  };
}
