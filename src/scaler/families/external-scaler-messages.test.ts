import { loadSync, type MethodDefinition, type ServiceDefinition } from '@grpc/proto-loader';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../base/errors.ts';
import { Secret } from '../../base/secret.ts';
import {
  decodeActive,
  decodeMetricSpecs,
  decodeMetricValues,
  encodeMetricsRequest,
  encodeReference,
} from './external-scaler-messages.ts';

/** The same messages as another implementation of protobuf reads and writes them, from the proto file. */
const proto = loadSync(new URL('../../../docs/external-scaler.proto', import.meta.url).pathname, {
  longs: String,
  defaults: true,
});
const service = proto['externalscaler.ExternalScaler'] as ServiceDefinition;
const method = (name: string) => service[name] as MethodDefinition<object, object>;

const texts = fc.string({ unit: 'binary' });
const metadata = fc.dictionary(texts, texts, { maxKeys: 5, noNullPrototype: true });
const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

const refOf = (name: string, namespace: string, said: Record<string, string>) => ({
  name,
  namespace,
  scalerMetadata: Object.fromEntries(Object.entries(said).map(([key, value]) => [key, new Secret(value)])),
});

describe('the messages of an external scaler', () => {
  it('are asked as others read them', () => {
    fc.assert(
      fc.property(texts, texts, metadata, texts, (name, namespace, said, metricName) => {
        const ref = refOf(name, namespace, said);

        const whole = method('IsActive').requestDeserialize(encodeReference(ref));
        const asked = method('GetMetrics').requestDeserialize(encodeMetricsRequest(ref, metricName));

        expect(whole).toEqual({ name, namespace, scalerMetadata: said });
        expect(asked).toEqual({ scaledObjectRef: { name, namespace, scalerMetadata: said }, metricName });
      }),
    );
  });

  it('are read as others write them', () => {
    fc.assert(
      fc.property(texts, int64, fc.double(), fc.boolean(), (metricName, whole, fraction, result) => {
        const spec = { metricName, targetSize: String(whole), targetSizeFloat: fraction };
        const value = { metricName, metricValue: String(whole), metricValueFloat: fraction };

        const specs = method('GetMetricSpec').responseSerialize({ metricSpecs: [spec, spec] });
        const values = method('GetMetrics').responseSerialize({ metricValues: [value] });
        const activity = method('IsActive').responseSerialize({ result });

        const number = fraction > 0 || Number.isNaN(fraction) ? fraction : Number(whole);
        expect(decodeMetricSpecs(specs)).toEqual([
          { metricName, targetSize: number },
          { metricName, targetSize: number },
        ]);
        expect(decodeMetricValues(values)).toEqual([number]);
        expect(decodeActive(activity)).toBe(result);
      }),
    );
  });

  it('are read or refused, whatever bytes come', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), bytes => {
        for (const decode of [decodeActive, decodeMetricSpecs, decodeMetricValues]) {
          try {
            decode(Buffer.from(bytes));
          } catch (thrown) {
            expect(thrown).toBeInstanceOf(Fault);
            expect(thrown).toMatchObject({ code: 'SOURCE_ANSWER_INVALID' });
          }
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('may have fields of a later version, which are passed over', () => {
    const later = Buffer.from([
      0x08, 0x01, 0x12, 0x02, 0x68, 0x69, 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8,
    ]);

    expect(decodeActive(later)).toBe(true);
  });
});
