/** The media type of the text that Prometheus scrapes. */
export const expositionType = 'text/plain; version=0.0.4; charset=utf-8';

/** Writes series in the text format 0.0.4 of Prometheus, one family after the other. */
export class Exposition {
  readonly #parts: string[] = [];
  #name = '';

  /** Begins the next family; its samples follow. A name may be used once. */
  family(name: string, type: 'gauge' | 'counter', help: string): void {
    this.#name = name;
    this.#parts.push(`# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${type}\n`);
  }

  /** @param labels as `labels` makes them; empty for none */
  sample(labels: string, value: number): void {
    this.#parts.push(
      labels === ''
        ? `${this.#name} ${formatNumber(value)}\n`
        : `${this.#name}{${labels}} ${formatNumber(value)}\n`,
    );
  }

  toString(): string {
    return this.#parts.join('');
  }
}

/** `name="value",…` in the given order, with the values escaped. */
export function labels(given: Readonly<Record<string, string | number>>): string {
  let text = '';
  for (const name in given) {
    const value = given[name];
    text += `${text === '' ? '' : ','}${name}="${typeof value === 'string' ? escapeLabel(value) : value}"`;
  }
  return text;
}

function escapeLabel(value: string): string {
  return /[\\"\n]/.test(value)
    ? value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
    : value;
}

const escapeHelp = (text: string) => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');

function formatNumber(value: number): string {
  if (Number.isFinite(value)) return String(value);
  if (Number.isNaN(value)) return 'NaN';
  return value > 0 ? '+Inf' : '-Inf';
}
