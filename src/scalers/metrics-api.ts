import { Fault, faultOf } from '../base/errors.ts';
import { fingerprint } from '../base/secret.ts';
import { defineScaler, refuse } from '../scaler/define.ts';
import { openHttp } from '../scaler/families/http.ts';
import { httpAuthParams, notHttpUrl, resolveHttpAuth } from '../scaler/families/http-auth.ts';
import { aggregate, aggregations, endpointUrls, serviceOf } from '../scaler/families/service-endpoints.ts';
import { mostBytes, valueAtLocation, valueFormats } from '../scaler/families/value-formats.ts';
import { normalizeMetricName } from '../scaler/metric-name.ts';
import { p } from '../scaler/params.ts';

const mostAtOnce = 5;

export default defineScaler({
  type: 'metrics-api',
  doc: 'Reads one number out of what a URL answers. With aggregateFromKubeServiceEndpoints it asks every ready pod of a service and leaves out those that fail, unless all do.',
  testedWith: { kind: 'stub', with: 'HTTP servers that answer in each format' },
  params: {
    url: p.text({ doc: 'What to get, such as http://app:1317/api/v1/stats.' }),
    valueLocation: p.text({
      doc: 'Where the number is. json: a GJSON path. yaml: names with dots between, indexes of lists as numbers. xml: the same from the root element on; of a repeated element the first counts unless its index follows, an attribute is written @name and a dot within a name \\. . prometheus: a metric with labels as in PromQL, such as jobs{state="waiting"}.',
    }),
    format: p.choice(valueFormats, { doc: 'How the answer is written.', default: 'json' }),
    targetValue: p.number({ doc: 'Target value; not 0.' }),
    activationTargetValue: p.number({ doc: 'Active above this value.', default: '0' }),
    unsafeSsl: p.flag({ doc: "Skips verification of the server's certificate.", default: 'false' }),
    aggregateFromKubeServiceEndpoints: p.flag({
      doc: 'Asks every ready pod of the service that url names; the port is then that of the pods.',
      default: 'false',
    }),
    aggregationType: p.choice(aggregations, {
      doc: 'What becomes of the numbers of several pods.',
      default: 'average',
    }),
    timeout: p.duration({ doc: 'How long a reading may take.', optional: true }),
    ...httpAuthParams,
  },
  target: 'targetValue',
  activation: 'activationTargetValue',

  resolve(values, { asMetricSource }) {
    const { url, valueLocation, format, targetValue } = values;
    const access = resolveHttpAuth(values, values.unsafeSsl);
    const problems = [...notHttpUrl('url', url), ...('problems' in access ? access.problems : [])];
    const take = valueAtLocation(format, valueLocation, problems);
    if (targetValue === 0 && !asMetricSource) {
      problems.push({ problem: 'targetValue is 0', place: { field: 'metadata.targetValue' } });
    }
    const parsed = URL.canParse(url) ? new URL(url) : undefined;
    const pods = values.aggregateFromKubeServiceEndpoints;
    if (pods && parsed !== undefined && serviceOf(parsed) === undefined) {
      problems.push({
        problem: `"${parsed.host}" names no service with its namespace`,
        mending: 'write http://<service>.<namespace>:<port of the pods>/…',
        place: { field: 'metadata.url' },
      });
    }
    if (problems.length > 0 || 'problems' in access || take === undefined || parsed === undefined) {
      return refuse(problems);
    }
    return {
      access,
      url,
      origin: parsed.origin,
      host: parsed.host,
      take,
      maxBytes: mostBytes[format],
      pods: pods ? values.aggregationType : undefined,
      name: normalizeMetricName(`metric-api-${valueLocation}`),
      question: fingerprint(JSON.stringify([url, format, valueLocation, pods, values.aggregationType])),
      timeout: values.timeout,
    };
  },

  metricName: ({ name }) => name,
  endpoint: ({ origin, access }) => `${origin} ${access.identity}`,
  query: ({ question }) => question,
  timeoutMs: ({ timeout }) => (timeout === 0 ? undefined : timeout),

  open: async ({ access }, context) => openHttp(access, context),

  async read({ url, host, take, maxBytes, pods }, { conn, now, signal, cluster }) {
    const readOne = async (from: string, what: string) =>
      take(await conn.fetch({ url: from, what, now, signal, maxBytes }), what);
    if (pods === undefined) return readOne(url, host);
    const urls = await endpointUrls(new URL(url), cluster, signal);
    const values: number[] = [];
    const faults: Fault[] = [];
    const work = async (remaining: Iterator<string>) => {
      for (let next = remaining.next(); !next.done; next = remaining.next()) {
        const { host: pod } = new URL(next.value);
        await readOne(next.value, pod).then(
          value => values.push(value),
          thrown => faults.push(faultOf(thrown)),
        );
      }
    };
    const remaining = urls.values();
    await Promise.all(Array.from({ length: mostAtOnce }, () => work(remaining)));
    const [fault] = faults;
    // A deadline in the middle says nothing about the pods that were not asked.
    if (fault === undefined || (values.length > 0 && !signal.aborted)) return aggregate(pods, values);
    if (signal.aborted) throw fault;
    throw new Fault(fault.code, `none of ${urls.length} pods gave a number: ${fault.message}`);
  },
});
