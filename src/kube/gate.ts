/** Opens once, for all who wait and all who come later. */
export interface Gate {
  readonly isOpen: boolean;
  open(): void;
  /** Turns away all who wait, and all who come later; nothing where it is open already. */
  close(reason: unknown): void;
  /** @throws the signal's reason, or the one it was closed for */
  passed(signal: AbortSignal): Promise<void>;
}

/** Shut until it is told to open. */
export function gate(): Gate {
  let open = () => {};
  let close = (_reason: unknown) => {};
  let isOpen = false;
  const opened = new Promise<void>((resolve, reject) => {
    open = resolve;
    close = reject;
  });
  // Nobody has to wait.
  opened.catch(() => {});
  return {
    get isOpen() {
      return isOpen;
    },
    open() {
      isOpen = true;
      open();
    },
    close: (reason: unknown) => close(reason),
    passed: (signal: AbortSignal) =>
      new Promise<void>((resolve, reject) => {
        const stop = () => reject(signal.reason);
        if (signal.aborted) return stop();
        signal.addEventListener('abort', stop, { once: true });
        opened.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
      }),
  };
}
