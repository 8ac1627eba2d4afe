import { Fault } from '../../base/errors.ts';
import type { Secret } from '../../base/secret.ts';
import { bytesField, int64, type WireField, wireFields, wireText } from './protobuf.ts';

/** Whom a question is about, and all that the trigger says. Some of it may come from a Secret. */
export interface ScaledObjectRef {
  name: string;
  namespace: string;
  scalerMetadata: Readonly<Record<string, Secret>>;
}

/** A metric as the external scaler describes it. */
export interface ExternalMetricSpec {
  metricName: string;
  targetSize: number;
}

/** The bytes of `ScaledObjectRef`. */
export function encodeReference({ name, namespace, scalerMetadata }: ScaledObjectRef): Buffer {
  const entries = Object.entries(scalerMetadata).map(([key, value]) =>
    bytesField(3, Buffer.concat([bytesField(1, key), bytesField(2, value.reveal())])),
  );
  return Buffer.concat([bytesField(1, name), bytesField(2, namespace), ...entries]);
}

/** The bytes of `GetMetricsRequest`. */
export function encodeMetricsRequest(ref: ScaledObjectRef, metricName: string): Buffer {
  return Buffer.concat([bytesField(1, encodeReference(ref)), bytesField(2, metricName)]);
}

/** What an `IsActiveResponse` says. @throws Fault SOURCE_ANSWER_INVALID */
export function decodeActive(message: Buffer): boolean {
  let active = false;
  for (const field of wireFields(message)) {
    if (field.number === 1 && field.kind === 'varint') active = field.value !== 0n;
  }
  return active;
}

/** The metrics of a `GetMetricSpecResponse`. @throws Fault SOURCE_ANSWER_INVALID */
export function decodeMetricSpecs(message: Buffer): ExternalMetricSpec[] {
  return decodeNumbers(message).map(({ name, number }) => ({ metricName: name, targetSize: number }));
}

/** The values of a `GetMetricsResponse`. @throws Fault SOURCE_ANSWER_INVALID */
export function decodeMetricValues(message: Buffer): number[] {
  return decodeNumbers(message).map(({ number }) => number);
}

/** `MetricSpec` and `MetricValue` are alike: a name, a whole number, and one with a fraction that comes first if above 0. */
function decodeNumbers(message: Buffer): { name: string; number: number }[] {
  const numbers = [];
  for (const field of wireFields(message)) {
    if (field.number === 1 && field.kind === 'bytes') numbers.push(decodeNumber(field.value));
  }
  return numbers;
}

function decodeNumber(message: Buffer): { name: string; number: number } {
  let name = '';
  let whole = 0;
  let fraction = 0;
  for (const field of wireFields(message)) {
    if (field.number === 1) name = wireText(bytesOf(field));
    else if (field.number === 2 && field.kind === 'varint') whole = int64(field.value);
    else if (field.number === 3 && field.kind === 'fixed64') fraction = field.value.readDoubleLE();
  }
  return { name, number: fraction > 0 || Number.isNaN(fraction) ? fraction : whole };
}

function bytesOf(field: WireField): Buffer {
  if (field.kind === 'bytes') return field.value;
  throw new Fault('SOURCE_ANSWER_INVALID', 'a message has a number where a name belongs');
}
