import { Fault } from '../base/errors.ts';
import { parseQuantity } from '../base/quantity.ts';
import { fingerprint } from '../base/secret.ts';
import { defineScaler, refuse } from '../scaler/define.ts';
import { decimalOf } from '../scaler/families/go-number.ts';
import { type Meaning, type TakeValue, valueAt } from '../scaler/families/value-formats.ts';
import { normalizeMetricName } from '../scaler/metric-name.ts';
import { p } from '../scaler/params.ts';
import type { Problem } from '../spec/problem.ts';

const kinds = { ConfigMap: 'configmaps', Secret: 'secrets' } as const;

export default defineScaler({
  type: 'kubernetes-resource',
  doc: 'Reads one number out of a key of a ConfigMap or Secret of the namespace. Only in a cluster. A key that is not there is an error, not 0.',
  testedWith: { kind: 'real', with: 'Kubernetes 1.36.3' },
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
      doc: 'What the number is. Of a text, float64 and int64 take the number at its front; quantity is 500m or 2Gi. In json, texts are quantities, and int64 takes none and cuts off what is behind the point.',
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
    if (problems.length > 0) return refuse(problems);
    const meaning = meanings[format][valueType];
    const take = format === 'number' ? numberIn(meaning) : valueAt(format, valueLocation ?? '', meaning);
    const base = `/api/v1/namespaces/${encodeURIComponent(namespace)}/${kinds[resourceKind]}`;
    return {
      path: `${base}/${encodeURIComponent(resourceName)}`,
      what: `${resourceKind} ${namespace}/${resourceName}`,
      secret: resourceKind === 'Secret',
      key,
      take,
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

  async read({ path, what, secret, key, take }, { cluster, signal }) {
    const { data } = (await cluster.get(path, signal)) as { data?: Record<string, string> | null };
    const value = data?.[key];
    if (value === undefined) throw new Fault('SOURCE_NOT_FOUND', `${what} has no key "${key}"`);
    return take(Buffer.from(value, secret ? 'base64' : 'utf8'), `the key "${key}" of ${what}`);
  },
});

/** What Go takes for the beginning of a number, and then reads or refuses as a whole. */
const beginning = /^[-+]?(0x)?[\d_]*\.?[\d_]*([ep][-+]?[\d_]*)?/i;

/** The number at the front of a text, as Go's `%f` scans it; `5Gi` is 5. */
function leadingNumber(text: string): number | undefined {
  const [token = ''] = beginning.exec(text.trimStart()) ?? [];
  return decimalOf(token);
}

/** The whole number at the front of a text, as `%d` scans it. */
function leadingWhole(text: string): number | undefined {
  const [token] = /^[-+]?\d+/.exec(text.trimStart()) ?? [];
  if (token === undefined) return undefined;
  const value = BigInt(token.replace('+', ''));
  return BigInt.asIntN(64, value) === value ? Number(value) : undefined;
}

/** How a text is taken; a number that is one already counts as it is. */
const orText =
  (ofText: (text: string) => number | undefined): Meaning =>
  found =>
    typeof found === 'number' ? found : ofText(found);

const quantity = orText(parseQuantity);
const leading = orText(leadingNumber);

/** KEDA's own rules, which differ from format to format. */
const meanings = {
  // Files end in a line break, and so do values made of them.
  number: {
    float64: leading,
    int64: orText(leadingWhole),
    quantity: orText(text => parseQuantity(text.trimEnd())),
  },
  json: {
    float64: quantity,
    int64: found => (typeof found === 'number' ? Math.trunc(found) : undefined),
    quantity,
  },
  yaml: { float64: leading, int64: leading, quantity },
} satisfies Record<string, Record<string, Meaning>>;

function numberIn(meaning: Meaning): TakeValue {
  return (body, what) => {
    const number = meaning(body.toString('utf8'));
    if (number !== undefined && Number.isFinite(number)) return number;
    throw new Fault('SOURCE_ANSWER_INVALID', `${what} is no such number as its valueType says`);
  };
}
