import { createHash } from 'node:crypto';
import { inspect } from 'node:util';

const shown = '[secret]';

/** A value that never shows itself: logs, JSON, string conversion and inspect all print `[secret]`. */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The value itself. Every use is a place where a secret leaves this type. */
  reveal(): string {
    return this.#value;
  }

  /** A short one-way digest, so that identities can be compared and connections keyed without the secret. */
  fingerprint(): string {
    return fingerprint(this.#value);
  }

  toString(): string {
    return shown;
  }

  toJSON(): string {
    return shown;
  }

  [inspect.custom](): string {
    return shown;
  }
}

/** The first 16 hex digits of a SHA-256 over the text. */
export function fingerprint(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/**
 * A text of somebody else's with known secrets taken out, written plainly or for a URL. Servers like to quote
 * what they were sent, and what they quote ends up in events and logs. Secrets under four characters stay: they
 * would take the sentence with them.
 */
export function withoutSecrets(text: string, secrets: readonly (string | undefined)[]): string {
  let cleaned = text;
  for (const secret of secrets) {
    if (secret === undefined || secret.length < 4) continue;
    cleaned = cleaned.replaceAll(secret, shown).replaceAll(forUrl(secret), shown);
  }
  return cleaned;
}

function forUrl(text: string): string {
  // Through bytes, because half a surrogate pair cannot be written for a URL.
  return encodeURIComponent(Buffer.from(text).toString('utf8'));
}
