import { Fault } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import { defineScaler } from '../scaler/define.ts';
import { accountIdentity, openStorage, storageAccount } from '../scaler/families/azure-storage.ts';
import { childrenOf, parseStorageXml, textOf } from '../scaler/families/azure-storage-xml.ts';
import { compileGlob, type Glob } from '../scaler/families/glob.ts';
import { normalizeMetricName } from '../scaler/metric-name.ts';
import { p } from '../scaler/params.ts';

/** A container with more than a million blobs is not counted one by one. */
const mostPages = 250;
const blobsAPage = 4_000;
/** A page in which every name has the 1,024 characters it may have. */
const pageBytes = 8 * 1024 * 1024;

export default defineScaler({
  type: 'azure-blob',
  doc: 'Counts the blobs of one Azure Storage container, directly below `blobPrefix` unless `recursive` or `globPattern` says otherwise. Blobs that are done have to be deleted or moved, or they are counted for ever; more than 1,000,000 are refused.',
  testedWith: { kind: 'stub', with: "Azurite 3.35.0, Microsoft's emulator" },
  params: {
    blobContainerName: p.text({ doc: 'Name of the container.' }),
    blobCount: p.integer({ doc: 'Blobs per replica.', unit: 'blobs', default: '5' }),
    activationBlobCount: p.integer({ doc: 'Active above this many blobs.', unit: 'blobs', default: '0' }),
    blobPrefix: p.text({
      doc: 'Counts only blobs below this; the delimiter is added to it.',
      optional: true,
    }),
    blobDelimiter: p.text({ doc: 'What ends a folder in the name of a blob.', default: '/' }),
    recursive: p.flag({ doc: 'Counts the blobs of folders below, too.', default: 'false' }),
    globPattern: p.text({
      doc: 'Counts the blobs whose whole name matches: `*` anything, slashes included, `?` one character, `[a-z]`, `{a,b}`.',
      optional: true,
    }),
    connection: p.secret({
      doc: 'Connection string of the storage account; not needed with a pod identity.',
      from: ['auth', 'env', 'metadata'],
      optional: true,
    }),
    accountName: p.text({ doc: 'Name of the storage account; needed with a pod identity.', optional: true }),
    cloud: p.text({
      doc: 'Cloud of the account: AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, AzureGermanCloud or Private.',
      optional: true,
    }),
    endpointSuffix: p.text({
      doc: 'Domain of the blob service, such as `blob.core.private.cloud`; for `cloud: Private` only.',
      optional: true,
    }),
  },
  target: 'blobCount',
  activation: 'activationBlobCount',
  counts: 'waiting and in flight',
  resolve(values, context, { metadata }) {
    // As in KEDA, it may be the string itself where it names no variable.
    const text = metadata['connectionFromEnv'];
    const connection = values.connection ?? (text?.includes('=') ? new Secret(text.trim()) : undefined);
    const account = storageAccount('blob', { ...values, connection }, context);
    if ('problems' in account) return account;
    const matches = readGlob(values.globPattern);
    if (typeof matches === 'string') {
      return { problems: [{ problem: matches, place: { field: 'metadata.globPattern' } }] };
    }
    const blobDelimiter = values.recursive ? '' : values.blobDelimiter;
    const blobPrefix = values.blobPrefix === undefined ? '' : values.blobPrefix + blobDelimiter;
    return { ...values, ...account, blobDelimiter, blobPrefix, matches };
  },
  metricName: ({ blobContainerName }) => normalizeMetricName(`azure-blob-${blobContainerName}`),
  endpoint: container => accountIdentity(container),
  query: ({ blobContainerName, blobPrefix, blobDelimiter, globPattern }) =>
    JSON.stringify([blobContainerName, blobPrefix, blobDelimiter, globPattern]),
  open: async (container, context) => openStorage(container, context),
  async read({ blobContainerName, blobPrefix, blobDelimiter, matches }, context) {
    const path = [blobContainerName];
    const what = context.conn.nameOf(path);
    const query = {
      restype: 'container',
      comp: 'list',
      maxresults: String(blobsAPage),
      ...(blobPrefix === '' ? {} : { prefix: blobPrefix }),
      // A pattern is for whole names, so folders must not hide what is below them.
      ...(blobDelimiter === '' || matches !== undefined ? {} : { delimiter: blobDelimiter }),
    };
    let count = 0;
    let marker = '';
    for (let page = 0; page < mostPages; page += 1) {
      const next = marker === '' ? query : { ...query, marker };
      const answer = await context.conn.send(
        { method: 'GET', path, query: next, maxBytes: pageBytes },
        context,
      );
      const list = parseStorageXml(answer.body, 'EnumerationResults', what);
      const blobs = childrenOf(childrenOf(list, 'Blobs')[0], 'Blob');
      count +=
        matches === undefined
          ? blobs.length
          : blobs.filter(blob => matches(textOf(blob, 'Name') ?? '')).length;
      marker = textOf(list, 'NextMarker') ?? '';
      if (marker === '') return count;
    }
    throw new Fault(
      'SOURCE_ANSWER_TOO_LARGE',
      `${what} has more than ${mostPages * blobsAPage} blobs; give a blobPrefix that leaves fewer`,
    );
  },
});

/** As in KEDA, a slash at the start is left out, since no blob's name has one. */
function readGlob(pattern: string | undefined): Glob | undefined | string {
  if (pattern === undefined) return undefined;
  try {
    return compileGlob(pattern.replace(/^\//, ''));
  } catch (thrown) {
    return `"${pattern}" ${thrown instanceof Error ? thrown.message : String(thrown)}`;
  }
}
