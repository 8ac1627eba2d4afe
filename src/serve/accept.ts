/** What a client can read, in the order in which it would like it. */
export interface Wish {
  /** Such as `application/json`, in lower case. */
  type: string;
  /** Such as `{ as: 'Table', v: 'v1' }`. */
  parameters: Readonly<Record<string, string>>;
}

const anything: readonly Wish[] = [{ type: '*/*', parameters: {} }];

/**
 * Reads an Accept header. What is wished less is later, what is refused (`q=0`) is left out; without a header
 * everything is welcome.
 */
export function wishesOf(accept: string | undefined): readonly Wish[] {
  if (accept === undefined || accept.trim() === '') return anything;
  return accept
    .split(',')
    .map(one => {
      const [type = '', ...rest] = one.split(';').map(part => part.trim());
      const parameters = Object.fromEntries(
        rest.map(part => {
          const [name = '', value = ''] = part.split('=', 2);
          return [name.trim(), value.trim()];
        }),
      );
      return { type: type.toLowerCase(), parameters, quality: Number(parameters['q'] ?? 1) };
    })
    .filter(({ quality }) => quality > 0)
    .sort((a, b) => b.quality - a.quality);
}

/** Whether JSON is among what is meant. */
export const meansJson = ({ type }: Wish): boolean =>
  type === 'application/json' || type === 'application/*' || type === '*/*';
