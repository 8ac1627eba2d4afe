import { Fault } from '../base/errors.ts';
import { flatten } from '../base/flatten.ts';
import { fingerprint } from '../base/secret.ts';
import { defineScaler, refuse } from '../scaler/define.ts';
import { openHttp } from '../scaler/families/http.ts';
import { httpAuthParams, notHeader, notHttpUrl, resolveHttpAuth } from '../scaler/families/http-auth.ts';
import { parseInstantQuery } from '../scaler/families/prometheus-answer.ts';
import { p } from '../scaler/params.ts';
import type { PodIdentity } from '../spec/pod-identity.ts';

export default defineScaler({
  type: 'prometheus',
  doc: 'Reads the one number that a PromQL query gives. No result counts as 0, unless ignoreNullValues is false.',
  testedWith: { kind: 'stub', with: 'HTTP servers that answer as Prometheus documents it' },
  params: {
    serverAddress: p.text({ doc: 'URL of the server, such as http://prometheus:9090.' }),
    query: p.text({ doc: 'PromQL that gives one element or a scalar.' }),
    queryParameters: p.map({ doc: 'More parameters of the query API, `name=value,…`.', optional: true }),
    threshold: p.number({ doc: 'Target value.' }),
    activationThreshold: p.number({ doc: 'Active above this value.', default: '0' }),
    namespace: p.text({ doc: 'Namespace of the query, for servers such as Thanos Querier.', optional: true }),
    customHeaders: p.map({ doc: 'Headers to send, `name=value,…`.', optional: true }),
    ignoreNullValues: p.flag({
      doc: 'Whether no result, NaN and infinity count as 0; otherwise they are an error.',
      default: 'true',
    }),
    unsafeSsl: p.flag({ doc: "Skips verification of the server's certificate.", default: 'false' }),
    timeout: p.duration({ doc: 'How long a reading may take.', optional: true }),
    awsRegion: p.text({
      doc: 'For Amazon Managed Prometheus, which cannot be asked yet.',
      from: ['metadata', 'auth'],
      optional: true,
    }),
    credentialsFromEnv: p.text({
      doc: "For Google's managed Prometheus, which cannot be asked yet.",
      also: ['credentialsFromEnvFile'],
      optional: true,
    }),
    GoogleApplicationCredentials: p.secret({
      doc: "For Google's managed Prometheus, which cannot be asked yet.",
      from: ['auth'],
      optional: true,
    }),
    identityOwner: p.text({ doc: 'Accepted for KEDA manifests; has no effect.', optional: true }),
    ...httpAuthParams,
  },
  target: 'threshold',
  activation: 'activationThreshold',

  resolve(values, { podIdentity }) {
    const access = resolveHttpAuth(values, values.unsafeSsl);
    const problems = [
      ...notHttpUrl('serverAddress', values.serverAddress),
      ...Object.keys(values.customHeaders ?? {}).flatMap(name => notHeader('customHeaders', name)),
      ...('problems' in access ? access.problems : []),
    ];
    if (values.authModes !== undefined && podIdentity.provider !== 'none') {
      problems.push({
        problem: 'authModes and a pod identity exclude each other',
        mending: 'leave out one of them',
        place: { field: 'metadata.authModes' },
      });
    }
    if (problems.length > 0 || 'problems' in access) return refuse(problems);
    const query = new URLSearchParams({
      query: values.query,
      ...(values.namespace === undefined ? {} : { namespace: values.namespace }),
      ...values.queryParameters,
    });
    const server = new URL(values.serverAddress);
    return {
      access,
      origin: server.origin,
      host: server.host,
      // Everything but the time is worked out once: many triggers are read often.
      url: flatten(`${values.serverAddress.replace(/\/+$/, '')}/api/v1/query?${query}&time=`),
      headers: values.customHeaders ?? {},
      managed: values.authModes === undefined ? managedBy(values, podIdentity) : undefined,
      ignoreNullValues: values.ignoreNullValues,
      timeout: values.timeout,
    };
  },

  metricName: () => 'prometheus',
  endpoint: ({ origin, access, managed = '' }) => `${origin} ${access.identity} ${managed}`.trim(),
  query: ({ url, headers, ignoreNullValues }) =>
    fingerprint(`${url} ${ignoreNullValues} ${JSON.stringify(headers)}`),
  timeoutMs: ({ timeout }) => (timeout === 0 ? undefined : timeout),

  async open({ access, managed }, context) {
    if (managed === undefined) return openHttp(access, context);
    throw new Fault('NOT_SUPPORTED', `a Prometheus that wants ${managed} cannot be asked yet`);
  },

  async read({ url, host, headers, ignoreNullValues }, { conn, now, signal }) {
    // Whole seconds, as KEDA asks: caches in between see the same question for a while.
    const time = new Date(now).toISOString().replace(/\.\d+/, '');
    const body = await conn.fetch({ url: url + time, headers, now, signal });
    return parseInstantQuery(body, host, ignoreNullValues);
  },
});

/** What KEDA would sign in with where no authModes are given. Asking without it could only be refused. */
function managedBy(
  values: { awsRegion?: unknown; credentialsFromEnv?: unknown; GoogleApplicationCredentials?: unknown },
  { provider }: PodIdentity,
): string | undefined {
  if (provider !== 'none') return `the pod identity ${provider}`;
  if (values.awsRegion !== undefined) return 'requests signed for AWS';
  const google = values.credentialsFromEnv ?? values.GoogleApplicationCredentials;
  return google === undefined ? undefined : 'Google credentials';
}
