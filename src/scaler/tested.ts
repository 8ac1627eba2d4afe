/**
 * What a scaler's tests ran against. `real`: the system itself. `stub`: what stands in for it, an emulator or a
 * server written from its documentation, so that the system may still differ. `none-needed`: there is no server to read.
 */
export type Tested =
  | {
      readonly kind: 'real' | 'stub';
      /** Its name, with the version where it has one: it follows "tested with". */
      readonly with: string;
    }
  | { readonly kind: 'none-needed' };

/** The same in a few words, such as `Redis 7.0.15` or `stub: moto 5.2.5`. */
export function testedWords(tested: Tested): string {
  switch (tested.kind) {
    case 'real':
      return tested.with;
    case 'stub':
      return `stub: ${tested.with}`;
    case 'none-needed':
      return 'no server needed';
  }
}
