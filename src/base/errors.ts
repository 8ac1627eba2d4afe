/**
 * Every error that a person may meet carries one of these codes. `retry` says whether trying the same thing
 * again can help: an engine backs off on `true` and waits for a change of the manifest or secret on `false`.
 */
export const faultCodes = {
  MANIFEST_INVALID: { retry: false, means: 'A manifest cannot be read or breaks a rule.' },
  PARAM_INVALID: {
    retry: false,
    means: 'A trigger parameter is missing or has a value that cannot be used.',
  },
  FORMULA_INVALID: { retry: false, means: 'The scaling formula does not compile.' },
  FORMULA_FAILED: { retry: true, means: 'The scaling formula failed on the values of this moment.' },
  TYPE_UNKNOWN: { retry: false, means: 'No scaler has this trigger type.' },
  NOT_SUPPORTED: { retry: false, means: 'What was asked for does not exist in this world or this version.' },
  AUTH_MISSING: {
    retry: true,
    means: 'A TriggerAuthentication, Secret, ConfigMap or key that a trigger names is not there.',
  },
  AUTH_FAILED: { retry: true, means: 'An identity provider or secret store refused or failed.' },
  SOURCE_UNREACHABLE: {
    retry: true,
    means: 'No connection to the source: name lookup, refused, reset or TLS failure.',
  },
  SOURCE_TIMEOUT: { retry: true, means: 'The source did not answer before the deadline.' },
  SOURCE_BUSY: { retry: true, means: 'The source asked to be left alone (429 or 503).' },
  SOURCE_REFUSED: { retry: true, means: 'The source refused the credentials (401 or 403).' },
  SOURCE_NOT_FOUND: { retry: true, means: 'The source has no such queue, container, metric or path.' },
  SOURCE_FAILED: { retry: true, means: 'The source answered with an error.' },
  SOURCE_ANSWER_INVALID: {
    retry: true,
    means: 'The source answered with something that cannot be understood.',
  },
  SOURCE_ANSWER_TOO_LARGE: { retry: true, means: 'The source answered with more than a reading can need.' },
  TARGET_MISSING: { retry: true, means: 'The thing to scale does not exist.' },
  TARGET_TAKEN: { retry: true, means: 'A HorizontalPodAutoscaler that is not ours scales the same target.' },
  WORLD_FAILED: { retry: true, means: 'The cluster or the laptop did not do what was asked.' },
  STATE_UNWRITABLE: { retry: true, means: 'The state file cannot be written.' },
  MESSAGE_LOST: {
    retry: false,
    means: 'A claimed message no longer belongs to us; the source will deliver it again.',
  },
  KUBECONFIG_INVALID: {
    retry: false,
    means: 'The kubeconfig, or a file that it names, is missing or cannot be used.',
  },
  KUBE_NOT_FOUND: { retry: true, means: 'The API server has no such object or kind.' },
  KUBE_CONFLICT: { retry: true, means: 'Somebody else changed the object in the cluster meanwhile.' },
  KUBE_EXISTS: { retry: false, means: 'An object with this name is in the cluster already.' },
  KUBE_EXPIRED: { retry: true, means: 'The API server no longer has the changes since that version.' },
  KUBE_INVALID: { retry: false, means: 'The API server does not accept the object or the request.' },
  KUBE_REFUSED: {
    retry: true,
    means: 'The API server refused the credentials, or they do not allow it (401 or 403).',
  },
  KUBE_UNREACHABLE: { retry: true, means: 'The API server does not answer.' },
  KUBE_FAILED: { retry: true, means: 'The API server answered with an error.' },
  USAGE: { retry: false, means: 'The command line cannot be understood.' },
  CANCELLED: { retry: true, means: 'The work was stopped before it was done.' },
  INTERNAL: { retry: true, means: 'A defect in Eventide.' },
} as const satisfies Record<string, { retry: boolean; means: string }>;

export type FaultCode = keyof typeof faultCodes;

interface FaultOptions {
  cause?: unknown;
  /** How long the source asked to be left alone, in milliseconds. */
  retryAfterMs?: number;
}

/** The one error class. The message is a sentence for a person; the cause is kept for the log. */
export class Fault extends Error {
  readonly code: FaultCode;
  readonly retryAfterMs: number | undefined;

  constructor(code: FaultCode, message: string, options: FaultOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'Fault';
    this.code = code;
    this.retryAfterMs = options.retryAfterMs;
  }

  /** Whether trying again without any change can help. */
  get retry(): boolean {
    return faultCodes[this.code].retry;
  }

  toJSON(): { code: FaultCode; message: string } {
    return { code: this.code, message: this.message };
  }
}

/** Turns whatever was thrown into a Fault; a Fault is returned as it is, the rest keeps its cause. */
export function faultOf(thrown: unknown, code: FaultCode = 'INTERNAL'): Fault {
  if (thrown instanceof Fault) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new Fault(code, message, { cause: thrown });
}

/** For the last branch of an exhaustive switch: a new kind breaks the compile where it is used. */
export function never(value: never): never {
  throw new Fault('INTERNAL', `unexpected value ${JSON.stringify(value)}`);
}
