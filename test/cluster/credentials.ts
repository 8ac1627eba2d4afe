import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A certificate and its key, as PEM texts and as the files they are in. */
export interface Credential {
  cert: string;
  key: string;
  certFile: string;
  keyFile: string;
}

/** What a certificate says and who vouches for it; it vouches for itself, as an authority, without `issuer`. */
export interface CertificateRequest {
  commonName: string;
  /** Groups, to Kubernetes. */
  organizations?: string[];
  /** As `DNS:localhost` or `IP:127.0.0.1`: makes it a server's certificate, and a client's otherwise. */
  altNames?: string[];
  issuer?: Credential;
}

/** Makes a certificate, valid for ten years, and its key, in `folder/name.crt` and `folder/name.key`. */
export async function makeCertificate(
  folder: string,
  name: string,
  request: CertificateRequest,
): Promise<Credential> {
  const [certFile, keyFile] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)];
  const configFile = join(folder, `${name}.cnf`);
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  await writeFile(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  await writeFile(configFile, opensslConfig(request));
  const { issuer } = request;
  await run('openssl', [
    ...['req', '-x509', '-new', '-sha256', '-days', '3650', '-config', configFile],
    ...['-key', keyFile, '-out', certFile],
    ...(issuer === undefined ? [] : ['-CA', issuer.certFile, '-CAkey', issuer.keyFile]),
  ]);
  const [cert, key] = await Promise.all([readFile(certFile, 'utf8'), readFile(keyFile, 'utf8')]);
  return { cert, key, certFile, keyFile };
}

function opensslConfig({ commonName, organizations = [], altNames, issuer }: CertificateRequest): string {
  const extensions =
    issuer === undefined
      ? ['basicConstraints = critical,CA:TRUE', 'keyUsage = critical,keyCertSign,cRLSign']
      : [
          'basicConstraints = critical,CA:FALSE',
          'keyUsage = critical,digitalSignature',
          // KEDA's programs show their server's certificate to each other as clients, too.
          `extendedKeyUsage = ${altNames === undefined ? 'clientAuth' : 'serverAuth,clientAuth'}`,
          ...(altNames === undefined ? [] : [`subjectAltName = ${altNames.join(',')}`]),
        ];
  return [
    ...['[req]', 'prompt = no', 'distinguished_name = name', 'x509_extensions = extensions', '[name]'],
    ...organizations.map((organization, index) => `${index}.O = ${organization}`),
    `CN = ${commonName}`,
    ...['[extensions]', 'subjectKeyIdentifier = hash', ...extensions, ''],
  ].join('\n');
}

/** What a kubeconfig says; a user without certificate or token is nobody. */
export interface KubeconfigUser {
  cert?: string;
  key?: string;
  token?: string;
  as?: string;
  asGroups?: string[];
}

/** A kubeconfig (JSON, which is YAML) for one user of one cluster. */
export function kubeconfigOf(cluster: { url: string; ca: string }, user: KubeconfigUser): string {
  const base64 = (text: string) => Buffer.from(text).toString('base64');
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'bed',
    contexts: [{ name: 'bed', context: { cluster: 'bed', user: 'bed' } }],
    clusters: [
      { name: 'bed', cluster: { server: cluster.url, 'certificate-authority-data': base64(cluster.ca) } },
    ],
    users: [
      {
        name: 'bed',
        user: {
          ...(user.cert !== undefined && { 'client-certificate-data': base64(user.cert) }),
          ...(user.key !== undefined && { 'client-key-data': base64(user.key) }),
          ...(user.token !== undefined && { token: user.token }),
          ...(user.as !== undefined && { as: user.as }),
          ...(user.asGroups !== undefined && { 'as-groups': user.asGroups }),
        },
      },
    ],
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}
