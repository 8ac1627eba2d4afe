import { isRecord, shortened } from './field-path.ts';
import type { Findings } from './findings.ts';
import { s } from './schema.ts';
import type { SecretKeyRef } from './workload.ts';

/** Trigger types as people also write them: lower case, without hyphens. */
const typeAliases: Readonly<Record<string, string>> = {
  azureeventhub: 'azure-eventhub',
  azureeventhubs: 'azure-eventhub',
  azurestoragequeue: 'azure-queue',
  azurequeue: 'azure-queue',
  azurestorageblob: 'azure-blob',
  azureblob: 'azure-blob',
  azureservicebus: 'azure-servicebus',
  azuremonitor: 'azure-monitor',
  azureloganalytics: 'azure-log-analytics',
  azurepipelines: 'azure-pipelines',
  azureappinsights: 'azure-app-insights',
  azuredataexplorer: 'azure-data-explorer',
};

/** A trigger's type, with the aliases turned into KEDA's spelling. */
export const triggerType = s.custom<string, { required: true; doc: string }>(
  { required: true, doc: 'The trigger type, such as azure-queue, cron or prometheus.' },
  (value, findings) => {
    if (typeof value !== 'string') return findings.wrongType('a text', value);
    if (value === '') return findings.problem('must not be empty');
    const squashed = value.toLowerCase().replaceAll(/[-_ ]/g, '');
    const type = Object.hasOwn(typeAliases, squashed) ? (typeAliases[squashed] ?? value) : value;
    if (type !== value) findings.notice(`"${shortened(value)}" is accepted`, `KEDA's spelling is ${type}`);
    return type;
  },
  () => ({ type: 'string', minLength: 1 }),
);

/** A trigger's parameters: texts, and references to Secrets given in the place of a text. */
export interface TriggerMetadata {
  texts: Readonly<Record<string, string>>;
  secrets: Readonly<Record<string, SecretKeyRef>>;
}

/**
 * A trigger's metadata. KEDA takes texts only; numbers, true and false are read as the text the file has, and
 * `{ name, key }` or `{ secretKeyRef: { name, key } }` as a reference to a Secret.
 */
export const triggerMetadata = s.custom<TriggerMetadata, { required: true; doc: string }>(
  { required: true, doc: "The trigger's parameters, each a text." },
  (value, findings) => {
    if (!isRecord(value)) return findings.wrongType('an object', value);
    const texts: [string, string][] = [];
    const secrets: [string, SecretKeyRef][] = [];
    for (const [name, each] of Object.entries(value)) {
      const read = readParameter(name, each, findings.at(name));
      if (typeof read === 'string') texts.push([name, read]);
      else if (read !== undefined) secrets.push([name, read]);
    }
    return { texts: Object.fromEntries(texts), secrets: Object.fromEntries(secrets) };
  },
  () => ({ type: 'object', additionalProperties: { 'x-kubernetes-preserve-unknown-fields': true } }),
);

function readParameter(name: string, value: unknown, findings: Findings): string | SecretKeyRef | undefined {
  if (value === null || value === undefined) return undefined;
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') {
    const text = findings.spelling() ?? String(value);
    const shown = shortened(text);
    findings.notice(`${shown} is accepted as a text`, `KEDA's spelling is ${shortened(name)}: "${shown}"`);
    return text;
  }
  const reference = isRecord(value) && isRecord(value['secretKeyRef']) ? value['secretKeyRef'] : value;
  if (!isRecord(reference)) return findings.wrongType('a text', value);
  const { name: secret, key, ...more } = reference;
  if (
    typeof secret !== 'string' ||
    typeof key !== 'string' ||
    secret === '' ||
    Object.keys(more).length > 0
  ) {
    const mending = 'use a text, or secretKeyRef: { name: …, key: … }';
    return findings.problem('must be a text or a reference to a key of a Secret', mending);
  }
  findings.notice(
    'an inline Secret reference is accepted',
    `KEDA's spelling is a TriggerAuthentication with secretTargetRef { parameter: ${shortened(name)}, name: ${shortened(secret)}, key: ${shortened(key)} }`,
  );
  return { name: secret, key };
}
