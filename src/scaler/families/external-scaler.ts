import { Fault, faultOf } from '../../base/errors.ts';
import { fingerprint, Secret, withoutSecrets } from '../../base/secret.ts';
import { type TlsOptions, tlsIdentity } from '../../base/tls.ts';
import type { OpenContext, ParamContext, ReadContext } from '../context.ts';
import { type Measure, type MetricSpec, refuse } from '../define.ts';
import { type ParamInput, p, type ValuesOf } from '../params.ts';
import {
  decodeActive,
  decodeMetricSpecs,
  decodeMetricValues,
  encodeMetricsRequest,
  encodeReference,
  type ScaledObjectRef,
} from './external-scaler-messages.ts';
import { type GrpcAddress, type GrpcChannel, openGrpc } from './grpc.ts';

/** The parameters of `external` and `external-push`; all others are the external scaler's own. */
export const externalParams = {
  scalerAddress: p.text({
    doc: 'Where the external scaler listens, `host:port` as gRPC has it. Every parameter, this one too, is handed to it.',
  }),
  enableTLS: p.flag({
    doc: 'Whether to encrypt; so it is as well where a caCert or a client certificate is given.',
    default: 'false',
  }),
  unsafeSsl: p.flag({ doc: "Trusts any certificate of the external scaler's.", default: 'false' }),
  caCert: p.text({ doc: 'Certificate authority to trust, as PEM text.', from: ['auth'], optional: true }),
  tlsClientCert: p.text({ doc: 'Client certificate, as PEM text.', from: ['auth'], optional: true }),
  tlsClientKey: p.secret({
    doc: 'Key of the client certificate, as PEM text.',
    from: ['auth'],
    optional: true,
  }),
};

/** What a trigger asks its external scaler, and how to get there. */
export interface ExternalTrigger extends GrpcAddress {
  ref: ScaledObjectRef;
  /** What of `ref` did not stand in the manifest, and is not to be shown. */
  hidden: readonly Secret[];
  /** The metric's name at the external scaler; undefined before it was described. */
  metric: string | undefined;
  /** It feeds a formula, which has a target of its own. */
  targetless: boolean;
}

/** What the parameters say; a problem where the address is one that may not be used. */
export function externalTrigger(
  values: ValuesOf<typeof externalParams>,
  { namespace, workload, asMetricSource }: ParamContext,
  { metadata, env, inline = {} }: ParamInput,
): ExternalTrigger | ReturnType<typeof refuse> {
  const address = values.scalerAddress.replace(/^passthrough:(\/\/[^/]*\/)?/, '');
  if (/^(unix|unix-abstract|vsock|xds):/.test(address) || !/^[^\s@?#]+$/.test(address)) {
    return refuse([
      {
        problem: `scalerAddress "${values.scalerAddress}" is no address in a network`,
        mending: 'write host:port, such as my-scaler.my-namespace:6000',
        place: { field: 'metadata.scalerAddress' },
      },
    ]);
  }
  const hidden = Object.values(inline);
  const scalerMetadata: Record<string, Secret> = { ...inline };
  for (const [key, text] of Object.entries(metadata)) {
    if (!key.endsWith('FromEnv')) {
      scalerMetadata[key] ??= new Secret(text);
      continue;
    }
    const value = env[text];
    if (value === undefined || value === '') continue;
    scalerMetadata[key] = new Secret(value);
    hidden.push(scalerMetadata[key]);
  }
  return {
    address,
    tls: tlsOf(values),
    ref: { name: workload, namespace, scalerMetadata },
    hidden,
    metric: undefined,
    targetless: asMetricSource,
  };
}

function tlsOf(values: ValuesOf<typeof externalParams>): TlsOptions | undefined {
  const { enableTLS, unsafeSsl, caCert, tlsClientCert, tlsClientKey } = values;
  const tls: TlsOptions = {
    unsafeSsl,
    ...(caCert === undefined ? {} : { ca: caCert }),
    // One without the other is of no use; KEDA leaves it out as well.
    ...(tlsClientCert === undefined || tlsClientKey === undefined
      ? {}
      : { cert: tlsClientCert, key: tlsClientKey }),
  };
  return enableTLS || tls.ca !== undefined || tls.cert !== undefined ? tls : undefined;
}

/** Differs exactly where two triggers may not share a channel. */
export const externalEndpoint = ({ address, tls }: ExternalTrigger): string =>
  `${address} ${tls === undefined ? 'plain' : tlsIdentity(tls)}`;

/** Differs exactly where two triggers may get different answers. */
export function externalQuery({ ref, metric }: ExternalTrigger): string {
  const said = Object.entries(ref.scalerMetadata).map(([key, value]) => [key, value.reveal()]);
  return JSON.stringify([ref.namespace, ref.name, metric ?? '', fingerprint(JSON.stringify(said))]);
}

/** @throws Fault PARAM_INVALID where certificates cannot be read */
export const openExternal = (trigger: ExternalTrigger, context: OpenContext): Promise<GrpcChannel> =>
  openGrpc(trigger, context);

type Context = ReadContext<GrpcChannel>;

const method = (name: string) => `/externalscaler.ExternalScaler/${name}`;

/**
 * The metrics that the external scaler has for a trigger.
 *
 * @throws Fault of the source; SOURCE_ANSWER_INVALID where there is none, or one without a name or a target
 */
export async function describeExternal(
  trigger: ExternalTrigger,
  { conn, signal }: Context,
): Promise<MetricSpec<ExternalTrigger>[]> {
  const request = { path: method('GetMetricSpec'), message: encodeReference(trigger.ref) };
  return await asked(trigger, async () => specsOf(trigger, await conn.ask(request, signal)));
}

/**
 * What the external scaler says of the trigger's metric, all values together, and whether it is active: that is
 * the external scaler's own word, whatever the value is.
 *
 * @throws Fault of the source; SOURCE_ANSWER_INVALID where it gives no value, which is not a zero
 */
export async function readExternal(trigger: ExternalTrigger, context: Context): Promise<Measure> {
  const { conn, signal } = context;
  const { ref } = trigger;
  const metric = trigger.metric ?? (await describeExternal(trigger, context))[0]?.metricName ?? '';
  return await asked(trigger, async () => {
    const [metrics, activity] = await Promise.all([
      conn.ask({ path: method('GetMetrics'), message: encodeMetricsRequest(ref, metric) }, signal),
      conn.ask({ path: method('IsActive'), message: encodeReference(ref) }, signal),
    ]);
    const values = decodeMetricValues(metrics);
    if (values.length === 0) throw invalid(`has no value for the metric "${metric}"`);
    return { value: values.reduce((sum, value) => sum + value, 0), active: decodeActive(activity) };
  });
}

/** Says `active` each time the external scaler does; that it is not is what it is asked for, now and then. */
export async function* watchExternal(
  trigger: ExternalTrigger,
  { conn, signal }: Context,
): AsyncGenerator<'active', void> {
  const request = { path: method('StreamIsActive'), message: encodeReference(trigger.ref) };
  try {
    for await (const message of conn.listen(request, signal)) if (decodeActive(message)) yield 'active';
  } catch (thrown) {
    throw told(thrown, trigger);
  }
}

/** The trigger's metrics each time they change. Most external scalers do not tell; then nothing ever comes. */
export async function* watchExternalMetrics(
  trigger: ExternalTrigger,
  { conn, signal }: Context,
): AsyncGenerator<MetricSpec<ExternalTrigger>[], void> {
  const request = { path: method('StreamMetricSpec'), message: encodeReference(trigger.ref) };
  try {
    for await (const message of conn.listen(request, signal)) yield specsOf(trigger, message);
  } catch (thrown) {
    const fault = told(thrown, trigger);
    if (fault.code !== 'NOT_SUPPORTED') throw fault;
    // Asking again and again for what does not exist would be of no use.
    await new Promise<void>(resolve => {
      if (signal.aborted) resolve();
      else signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }
}

function specsOf(trigger: ExternalTrigger, message: Buffer): MetricSpec<ExternalTrigger>[] {
  const specs = decodeMetricSpecs(message);
  if (specs.length === 0) throw invalid('has no metric for this trigger');
  return specs.map(({ metricName, targetSize }) => {
    if (metricName === '') throw invalid('has a metric without a name');
    if (!Number.isFinite(targetSize) || (targetSize <= 0 && !trigger.targetless)) {
      throw invalid(`has the target ${targetSize} for the metric "${metricName}", which is to be above 0`);
    }
    const { address, tls, ref, hidden, targetless } = trigger;
    const params = { address, tls, ref, hidden, metric: metricName, targetless };
    return { metricName, target: targetSize, params };
  });
}

async function asked<T>(trigger: ExternalTrigger, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    throw told(thrown, trigger);
  }
}

/** Servers like to quote what they were sent. */
function told(thrown: unknown, { address, hidden }: ExternalTrigger): Fault {
  const fault = faultOf(thrown);
  const secrets = hidden.map(secret => secret.reveal());
  const sentence = fault.message.includes(address) ? fault.message : `${address} ${fault.message}`;
  const message = withoutSecrets(sentence, secrets);
  return message === fault.message ? fault : new Fault(fault.code, message, { cause: fault });
}

const invalid = (what: string) => new Fault('SOURCE_ANSWER_INVALID', what);
