import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import type { Binaries } from './binaries.ts';
import { type Credential, kubeconfigOf, makeCertificate } from './credentials.ts';
import { fakeKubeletConfig } from './fake-kubelet.ts';
import { freePorts, type Program } from './processes.ts';

/** The programs of a cluster, in the order they are started. */
export const components = [
  'etcd',
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'kwok',
] as const;
export type Component = (typeof components)[number];

/** Flags added to (and so winning over) those the bed gives its programs. */
export type ExtraFlags = Partial<Record<Component, string[]>>;

/** A cluster's programs with their files, ready to be started. */
export interface ControlPlane {
  url: string;
  authority: Credential;
  admin: Credential;
  adminKubeconfig: string;
  programs: Record<Component, Program>;
}

interface Files {
  folder: string;
  authority: Credential;
  server: Credential;
  admin: Credential;
  frontAuthority: Credential;
  frontProxy: Credential;
  serviceAccountKey: string;
  adminKubeconfig: string;
  kwokConfig: string;
}

interface Ports {
  etcd: number;
  etcdPeer: number;
  apiserver: number;
}

/** Writes what the programs need into a folder (it exists and is empty) and says how to start them. */
export async function prepareControlPlane(
  folder: string,
  binaries: Binaries,
  extraFlags: ExtraFlags,
): Promise<ControlPlane> {
  const [etcd = 0, etcdPeer = 0, apiserver = 0] = await freePorts(3);
  const ports = { etcd, etcdPeer, apiserver };
  const url = `https://127.0.0.1:${apiserver}`;
  const files = await writeFiles(folder, url);
  const { authority, admin } = files;
  const agent = new Agent({ connect: { ca: authority.cert, cert: admin.cert, key: admin.key } });
  const ok = async (address: string, signal: AbortSignal) => {
    const answer = await request(address, { dispatcher: agent, signal });
    await answer.body.dump();
    return answer.statusCode === 200;
  };
  const program = (name: Component, args: string[], ready: Program['ready']): Program => ({
    name,
    command: name === 'kwok' ? binaries.kwok : binaries.controlPlane,
    args: [...(name === 'kwok' ? [] : [name]), ...args, ...(extraFlags[name] ?? [])],
    logFile: join(folder, `${name}.log`),
    ready,
  });
  // Those that serve nothing have no way to say that they are ready; what they do is what a test waits for.
  const always = async () => true;
  return {
    url,
    authority,
    admin,
    adminKubeconfig: files.adminKubeconfig,
    programs: {
      etcd: program('etcd', etcdFlags(files, ports), signal =>
        ok(`http://127.0.0.1:${ports.etcd}/readyz`, signal),
      ),
      'kube-apiserver': program('kube-apiserver', apiserverFlags(files, ports), signal =>
        ok(`${url}/readyz`, signal),
      ),
      'kube-controller-manager': program('kube-controller-manager', controllerManagerFlags(files), always),
      'kube-scheduler': program('kube-scheduler', schedulerFlags(files), always),
      kwok: program('kwok', kwokFlags(files), always),
    },
  };
}

async function writeFiles(folder: string, url: string): Promise<Files> {
  const [authority, frontAuthority] = await Promise.all([
    makeCertificate(folder, 'ca', { commonName: 'bed' }),
    makeCertificate(folder, 'front-proxy-ca', { commonName: 'bed front proxy' }),
  ]);
  const [server, admin, frontProxy] = await Promise.all([
    makeCertificate(folder, 'apiserver', {
      commonName: 'kube-apiserver',
      altNames: [
        ...['IP:127.0.0.1', 'IP:10.96.0.1', 'DNS:localhost'],
        ...['DNS:kubernetes', 'DNS:kubernetes.default', 'DNS:kubernetes.default.svc'],
      ],
      issuer: authority,
    }),
    makeCertificate(folder, 'admin', {
      commonName: 'admin',
      organizations: ['system:masters'],
      issuer: authority,
    }),
    makeCertificate(folder, 'front-proxy', { commonName: 'front-proxy-client', issuer: frontAuthority }),
  ]);
  const serviceAccountKey = join(folder, 'service-account.key');
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  await writeFile(serviceAccountKey, privateKey.export({ type: 'sec1', format: 'pem' }), { mode: 0o600 });
  const adminKubeconfig = join(folder, 'admin.kubeconfig');
  await writeFile(adminKubeconfig, kubeconfigOf({ url, ca: authority.cert }, admin), { mode: 0o600 });
  const kwokConfig = join(folder, 'kwok.yaml');
  await writeFile(kwokConfig, fakeKubeletConfig());
  return {
    ...{ folder, authority, server, admin, frontAuthority, frontProxy },
    ...{ serviceAccountKey, adminKubeconfig, kwokConfig },
  };
}

function etcdFlags({ folder }: Files, { etcd, etcdPeer }: Ports): string[] {
  const client = `http://127.0.0.1:${etcd}`;
  const peer = `http://127.0.0.1:${etcdPeer}`;
  return [
    ...['--name=bed', `--data-dir=${join(folder, 'etcd')}`, '--unsafe-no-fsync', '--log-level=warn'],
    ...[`--listen-client-urls=${client}`, `--advertise-client-urls=${client}`],
    ...[`--listen-peer-urls=${peer}`, `--initial-advertise-peer-urls=${peer}`],
    `--initial-cluster=bed=${peer}`,
  ];
}

function apiserverFlags(files: Files, { etcd, apiserver }: Ports): string[] {
  const { authority, server, frontAuthority, frontProxy, serviceAccountKey, folder } = files;
  return [
    `--etcd-servers=http://127.0.0.1:${etcd}`,
    ...['--bind-address=127.0.0.1', `--secure-port=${apiserver}`, `--cert-dir=${folder}`],
    // The address is a loopback one, which endpoints must not have.
    '--endpoint-reconciler-type=none',
    ...['--service-cluster-ip-range=10.96.0.0/16', '--authorization-mode=RBAC', '--allow-privileged'],
    ...[`--tls-cert-file=${server.certFile}`, `--tls-private-key-file=${server.keyFile}`],
    `--client-ca-file=${authority.certFile}`,
    `--service-account-issuer=https://kubernetes.default.svc`,
    `--service-account-key-file=${serviceAccountKey}`,
    `--service-account-signing-key-file=${serviceAccountKey}`,
    // Pods need no token: nothing runs in them. Nodes are ready from the start: nothing untaints them.
    '--disable-admission-plugins=ServiceAccount,TaintNodesByCondition',
    // The aggregation layer shows this certificate to the servers behind it, and says who asks in headers.
    `--proxy-client-cert-file=${frontProxy.certFile}`,
    `--proxy-client-key-file=${frontProxy.keyFile}`,
    `--requestheader-client-ca-file=${frontAuthority.certFile}`,
    '--requestheader-allowed-names=front-proxy-client',
    '--requestheader-username-headers=X-Remote-User',
    '--requestheader-group-headers=X-Remote-Group',
    '--requestheader-extra-headers-prefix=X-Remote-Extra-',
    // Without, watches keep it from ending on SIGTERM for a minute.
    '--shutdown-watch-termination-grace-period=1s',
    '--profiling=false',
  ];
}

function controllerManagerFlags({ adminKubeconfig, serviceAccountKey, authority }: Files): string[] {
  return [
    `--kubeconfig=${adminKubeconfig}`,
    ...['--secure-port=0', '--leader-elect=false'],
    `--service-account-private-key-file=${serviceAccountKey}`,
    `--root-ca-file=${authority.certFile}`,
    // Nobody renews the leases of fake nodes.
    '--controllers=*,-node-lifecycle-controller',
    ...['--kube-api-qps=500', '--kube-api-burst=1000'],
  ];
}

function schedulerFlags({ adminKubeconfig }: Files): string[] {
  return [
    `--kubeconfig=${adminKubeconfig}`,
    ...['--secure-port=0', '--leader-elect=false'],
    ...['--kube-api-qps=500', '--kube-api-burst=1000'],
  ];
}

function kwokFlags({ adminKubeconfig, kwokConfig }: Files): string[] {
  return [
    `--kubeconfig=${adminKubeconfig}`,
    `--config=${kwokConfig}`,
    ...['--manage-all-nodes=true', '--node-lease-duration-seconds=0'],
  ];
}
