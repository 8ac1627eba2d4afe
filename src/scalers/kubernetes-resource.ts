import { Fault } from '../base/errors.ts';
import { parseQuantity } from '../base/quantity.ts';
import { fingerprint } from '../base/secret.ts';
import { defineScaler, refuse } from '../scaler/define.ts';
import { type TakeValue, valueAtLocation } from '../scaler/families/value-formats.ts';
import { normalizeMetricName } from '../scaler/metric-name.ts';
import { p } from '../scaler/params.ts';
import type { Problem } from '../spec/problem.ts';

const kinds = { ConfigMap: 'configmaps', Secret: 'secrets' } as const;

export default defineScaler({
  type: 'kubernetes-resource',
  doc: 'Reads one number out of a key of a ConfigMap or Secret of the namespace. Only in a cluster. A key that is not there is an error, not 0.',
  testedWith: { kind: 'stub', with: 'answers of an API server' },
  params: {
    resourceKind: p.choice(['ConfigMap', 'Secret'], { doc: 'What to look into.' }),
    resourceName: p.text({ doc: 'Its name.' }),
    key: p.text({ doc: 'The key whose value is read.' }),
    format: p.choice(['number', 'json', 'yaml'], { doc: 'How the value is written.', default: 'number' }),
    valueLocation: p.text({
      doc: 'Where the number is. json: a GJSON path. yaml: names with dots between. Not for number.',
      optional: true,
    }),
    valueType: p.choice(['float64', 'int64', 'quantity'], {
      doc: 'What the number is; int64 cuts off what is behind the point, quantity is 500m or 2Gi.',
      default: 'float64',
    }),
    targetValue: p.number({ doc: 'Value per replica; more than 0.' }),
    activationTargetValue: p.number({ doc: 'Active above this value.', default: '0' }),
  },
  target: 'targetValue',
  activation: 'activationTargetValue',

  resolve(values, { asMetricSource, namespace }) {
    const { resourceKind, resourceName, key, format, valueLocation, valueType, targetValue } = values;
    const problems: Problem[] = [];
    if (targetValue <= 0 && !asMetricSource) {
      problems.push({ problem: 'targetValue must be more than 0', place: { field: 'metadata.targetValue' } });
    }
    if ((format === 'number') !== (valueLocation === undefined)) {
      const place = { field: 'metadata.valueLocation' };
      const problem =
        format === 'number' ? 'valueLocation is for json and yaml' : `valueLocation is missing for ${format}`;
      problems.push({ problem, place });
    }
    const take =
      format === 'number' ? numberIn(valueType) : valueAtLocation(format, valueLocation ?? '', problems);
    if (problems.length > 0 || take === undefined) return refuse(problems);
    const base = `/api/v1/namespaces/${encodeURIComponent(namespace)}/${kinds[resourceKind]}`;
    return {
      path: `${base}/${encodeURIComponent(resourceName)}`,
      what: `${resourceKind} ${namespace}/${resourceName}`,
      secret: resourceKind === 'Secret',
      key,
      take,
      whole: valueType === 'int64',
      name: normalizeMetricName(`${resourceKind.toLowerCase()}-${resourceName}-${key}`),
      question: fingerprint(
        JSON.stringify([namespace, resourceKind, resourceName, key, format, valueLocation, valueType]),
      ),
    };
  },

  metricName: ({ name }) => name,
  endpoint: () => 'cluster',
  query: ({ question }) => question,

  open: async () => ({}),

  async read({ path, what, secret, key, take, whole }, { cluster, signal }) {
    const { data } = (await cluster.get(path, signal)) as { data?: Record<string, string> | null };
    const value = data?.[key];
    if (value === undefined) throw new Fault('SOURCE_NOT_FOUND', `${what} has no key "${key}"`);
    const number = take(Buffer.from(value, secret ? 'base64' : 'utf8'), `the key "${key}" of ${what}`);
    return whole ? Math.trunc(number) : number;
  },
});

/** Numbers as Go reads them from the front of a text; unlike there, nothing may follow. */
function numberIn(type: 'float64' | 'int64' | 'quantity'): TakeValue {
  const wanted = { float64: /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i, int64: /^[-+]?\d+$/ };
  return (body, what) => {
    const text = body.toString('utf8').trim();
    const number =
      type === 'quantity' ? parseQuantity(text) : wanted[type].test(text) ? Number(text) : undefined;
    if (number !== undefined && Number.isFinite(number)) return number;
    throw new Fault(
      'SOURCE_ANSWER_INVALID',
      `${what} is not ${type === 'quantity' ? 'a quantity' : 'a number'}`,
    );
  };
}
