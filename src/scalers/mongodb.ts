import { parseDocument } from 'yaml';
import { fingerprint, Secret } from '../base/secret.ts';
import { defineScaler } from '../scaler/define.ts';
import { type MongoAccess, mongoIdentity, mongoTimeoutMs, openMongo } from '../scaler/families/mongo.ts';
import { normalizeMetricName } from '../scaler/metric-name.ts';
import { p } from '../scaler/params.ts';
import type { Problem } from '../spec/problem.ts';

const login = ['auth', 'metadata'] as const;
const tlsPart = (doc: string) => ({ doc: `${doc}, PEM.`, from: ['auth'], optional: true }) as const;

interface Query extends MongoAccess {
  identity: string;
  database: string;
  collection: string;
  filter: string;
}

export default defineScaler({
  type: 'mongodb',
  doc: 'The documents of a collection that a query finds. A collection that does not exist has none. The server stops counting after 10 seconds.',
  testedWith: { kind: 'stub', with: "FerretDB 1.24.2, which speaks MongoDB's protocol" },
  params: {
    connectionString: p.secret({
      doc: '`mongodb://` or `mongodb+srv://`. Options that name files are refused: `ca`, `cert` and `key` take the PEM texts.',
      from: ['auth', 'metadata', 'env'],
      optional: true,
    }),
    scheme: p.choice(['mongodb', 'mongodb+srv'], {
      doc: '`mongodb+srv` finds the servers in the DNS.',
      from: login,
      default: 'mongodb',
    }),
    host: p.text({ doc: 'Host.', from: login, optional: true }),
    port: p.text({ doc: 'Port; there is none with `mongodb+srv`.', from: login, optional: true }),
    username: p.text({ doc: 'User to log in as.', from: login, optional: true }),
    password: p.secret({ doc: 'Password.', from: ['auth', 'metadata', 'env'], optional: true }),
    dbName: p.text({
      doc: 'Database; without a connection string also where the user is known.',
      from: login,
    }),
    collection: p.text({ doc: 'Collection.' }),
    query: p.text({
      doc: 'What the documents must match, as extended JSON; not empty. `{"_id":{"$exists":true}}` counts all.',
    }),
    queryValue: p.number({ doc: 'Documents per replica.', unit: 'documents' }),
    activationQueryValue: p.number({
      doc: 'Active above this many documents.',
      unit: 'documents',
      default: '0',
    }),
    tls: p.choice(['enable', 'disable'], {
      doc: 'Encrypt, with at least one of `ca`, and `cert` with `key`.',
      from: ['auth'],
      default: 'disable',
    }),
    cert: p.text(tlsPart('Client certificate')),
    key: p.secret(tlsPart("The client certificate's key")),
    keyPassword: p.secret({ doc: 'Password of the key.', from: ['auth'], optional: true }),
    ca: p.text(tlsPart("Certificate authority to trust in addition to the system's")),
  },
  target: 'queryValue',
  activation: 'activationQueryValue',

  resolve(values): Query | { problems: Problem[] } {
    const { scheme, ca, cert, key, keyPassword, dbName, collection, query } = values;
    const problems = notADocument(query);
    const needed = ['host', ...(scheme === 'mongodb' ? ['port'] : []), 'username', 'password'] as const;
    for (const name of values.connectionString === undefined ? needed : []) {
      if (values[name as 'host'] === undefined) {
        problems.push(problem(name, `"${name}" is missing`, 'give it, or a whole connectionString'));
      }
    }
    if (values.tls === 'enable' && ca === undefined && cert === undefined && key === undefined) {
      problems.push(problem('tls', 'there is no "ca", "cert" or "key" to encrypt with', 'give one of them'));
    }
    if (values.tls === 'enable' && (cert === undefined) !== (key === undefined)) {
      problems.push(problem('cert', 'one of "cert" and "key" is missing', 'give both or none'));
    }
    if (problems.length > 0) return { problems };
    const uri = values.connectionString ?? new Secret(uriOf(values));
    const tls =
      values.tls === 'disable'
        ? undefined
        : Object.assign({}, ca && { ca }, cert && { cert }, key && { key }, keyPassword && { keyPassword });
    return { uri, tls, identity: mongoIdentity({ uri, tls }), database: dbName, collection, filter: query };
  },

  metricName: ({ collection }) => normalizeMetricName(`mongodb-${collection}`),
  endpoint: ({ identity }) => identity,
  query: ({ database, collection, filter }) => fingerprint(JSON.stringify([database, collection, filter])),
  timeoutMs: () => mongoTimeoutMs,

  open: (query, context) => openMongo(query, context),
  read: (query, { conn, signal }) => conn.count(query, signal),
});

const problem = (name: string, said: string, mending: string): Problem => ({
  problem: said,
  mending,
  place: { field: `metadata.${name}` },
});

/** As KEDA, which counts nothing with an empty document. What the operators mean only the server knows. */
function notADocument(query: string): Problem[] {
  const everything = '{"_id":{"$exists":true}} counts all documents';
  try {
    const document: unknown = JSON.parse(query);
    const isDocument = typeof document === 'object' && document !== null && !Array.isArray(document);
    if (!isDocument) return [problem('query', 'the query is not a JSON object', everything)];
    if (hasKeyTwice(query)) {
      return [problem('query', 'the query has a key twice', 'put both conditions into a list of "$and"')];
    }
    return Object.keys(document).length === 0 ? [problem('query', 'the query is empty', everything)] : [];
  } catch {
    return [problem('query', 'the query is not JSON', 'write it as extended JSON')];
  }
}

/** Here the last one would count, for KEDA both. */
const hasKeyTwice = (query: string) =>
  parseDocument(query, { schema: 'json' }).errors.some(({ code }) => code === 'DUPLICATE_KEY');

function uriOf({
  scheme,
  host = '',
  port,
  username = '',
  password,
  dbName,
}: {
  scheme: string;
  host: string | undefined;
  port: string | undefined;
  username: string | undefined;
  password: Secret | undefined;
  dbName: string;
}): string {
  const login = [username, password?.reveal() ?? ''].map(encodeURIComponent).join(':');
  const where = host.includes(':') ? `[${host}]` : host;
  const address = scheme === 'mongodb' ? `${where}:${port}` : where;
  return `${scheme}://${login}@${address}/${encodeURIComponent(dbName)}`;
}
