import type { AnyScaler } from '../../src/scaler/define.ts';

/** The parameters of every trigger type as JSON, for editors and other tools. */
export function scalerSchema(scalers: readonly AnyScaler[]): { path: string; text: string } {
  const schema = {
    schemaVersion: '1',
    scalers: scalers.map(({ type, doc, testedWith, params }) => ({
      type,
      description: doc,
      testedWith,
      parameters: Object.entries(params).map(([name, param]) => ({
        name,
        type: param.kind,
        description: param.doc,
        ...(param.unit === undefined ? {} : { unit: param.unit }),
        ...(param.default === undefined ? {} : { default: param.default }),
        ...(param.optional ? { optional: true } : {}),
        ...(param.choices === undefined ? {} : { allowedValue: param.choices }),
        ...(param.removed === undefined ? {} : { removed: param.removed }),
        ...(param.deprecated === undefined ? {} : { deprecated: param.deprecated }),
        from: param.from ?? ['metadata'],
      })),
    })),
  };
  return { path: 'docs/scalers-schema.json', text: `${JSON.stringify(schema, null, 2)}\n` };
}
