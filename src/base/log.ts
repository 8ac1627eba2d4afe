/** A fixed sentence, with facts as fields. Fields may hold Secrets and Faults: both print safely. */
export interface Log {
  debug(sentence: string, facts?: Facts): void;
  info(sentence: string, facts?: Facts): void;
  warn(sentence: string, facts?: Facts): void;
  error(sentence: string, facts?: Facts): void;
  /** The same log with these facts on every line. */
  with(facts: Facts): Log;
}

export type Facts = Record<string, unknown>;

/** Says nothing; for tests and embedding. */
export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  with: () => silentLog,
};
