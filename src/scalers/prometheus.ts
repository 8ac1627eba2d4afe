import { flatten } from '../base/flatten.ts';
import { fingerprint } from '../base/secret.ts';
import { defineScaler, refuse } from '../scaler/define.ts';
import { openHttp } from '../scaler/families/http.ts';
import { httpAuthParams, notHeader, notHttpUrl, resolveHttpAuth } from '../scaler/families/http-auth.ts';
import {
  managedAccess,
  managedIdentity,
  managedParams,
  managedProof,
} from '../scaler/families/managed-prometheus.ts';
import { parseInstantQuery } from '../scaler/families/prometheus-answer.ts';
import { p } from '../scaler/params.ts';

export default defineScaler({
  type: 'prometheus',
  doc: 'Reads the one number that a PromQL query gives. No result counts as 0, unless ignoreNullValues is false. What Amazon, Azure and Google manage is asked by a pod identity, or by their keys.',
  testedWith: {
    kind: 'stub',
    with: 'HTTP servers that answer as Prometheus documents it, and check signatures as AWS documents them',
  },
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
    ...managedParams,
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
    const server = new URL(values.serverAddress);
    const managed = values.authModes === undefined ? managedAccess(values, server, podIdentity) : undefined;
    if (managed !== undefined && 'problems' in managed) return managed;
    const query = new URLSearchParams({
      query: values.query,
      ...(values.namespace === undefined ? {} : { namespace: values.namespace }),
      ...values.queryParameters,
    });
    // A plus sign is a space to most, and a plus sign to who checks signatures.
    const search = query.toString().replaceAll('+', '%20');
    return {
      access,
      origin: server.origin,
      host: server.host,
      // Everything but the time is worked out once: many triggers are read often.
      url: flatten(`${values.serverAddress.replace(/\/+$/, '')}/api/v1/query?${search}&time=`),
      headers: values.customHeaders ?? {},
      managed,
      ignoreNullValues: values.ignoreNullValues,
      timeout: values.timeout,
    };
  },

  metricName: () => 'prometheus',
  endpoint: ({ origin, access, managed }) =>
    `${origin} ${access.identity} ${managedIdentity(managed)}`.trim(),
  query: ({ url, headers, ignoreNullValues }) =>
    fingerprint(`${url} ${ignoreNullValues} ${JSON.stringify(headers)}`),
  timeoutMs: ({ timeout }) => (timeout === 0 ? undefined : timeout),

  open: async ({ access, managed }, context) =>
    openHttp(access, context, managed && managedProof(managed, context)),

  async read({ url, host, headers, ignoreNullValues }, { conn, now, signal }) {
    // Whole seconds, as KEDA asks: caches in between see the same question for a while.
    const time = new Date(now).toISOString().replace(/\.\d+/, '');
    const body = await conn.fetch({ url: url + time, headers, now, signal });
    return parseInstantQuery(body, host, ignoreNullValues);
  },
});
