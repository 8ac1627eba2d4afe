import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type KubeConfigOptions, loadKubeConfig } from './kubeconfig.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'eventide-kubeconfig-'));
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

async function write(name: string, content: unknown): Promise<string> {
  const path = join(folder, name);
  await mkdir(join(path, '..'), { recursive: true });
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

const load = (over: Partial<KubeConfigOptions> = {}) =>
  loadKubeConfig({ environment: {}, home: join(folder, 'home'), ...over });

const base64 = (text: string) => Buffer.from(text).toString('base64');

interface Parts {
  cluster?: object;
  user?: object;
  context?: object;
  [field: string]: unknown;
}

const kubeconfig = ({ cluster, user, context, ...rest }: Parts = {}) => ({
  apiVersion: 'v1',
  kind: 'Config',
  'current-context': 'shop',
  clusters: [{ name: 'c', cluster: { server: 'https://kube.example.com/', ...cluster } }],
  users: [{ name: 'u', user: { ...user } }],
  contexts: [{ name: 'shop', context: { cluster: 'c', user: 'u', ...context } }],
  ...rest,
});

describe('a kubeconfig', () => {
  it('says where the cluster is and who we are', async () => {
    const file = await write(
      'config',
      kubeconfig({
        cluster: {
          'certificate-authority-data': base64('the ca'),
          'tls-server-name': 'kube',
          'proxy-url': 'http://me:pw@proxy:3128',
        },
        user: {
          'client-certificate-data': base64('the cert'),
          'client-key-data': base64('the key'),
          token: 'a-token',
          as: 'jane',
          'as-uid': '7',
          'as-groups': ['devs'],
          'as-user-extra': { scopes: ['view'] },
        },
        context: { namespace: 'shop' },
      }),
    );

    const config = await load({ file });
    const credentials = await config.credentials(false);

    expect(config).toMatchObject({
      server: 'https://kube.example.com',
      origin: `context "shop" of ${file}`,
      namespace: 'shop',
      serverName: 'kube',
      impersonate: { user: 'jane', uid: '7', groups: ['devs'], extra: { scopes: ['view'] } },
    });
    expect(config.proxy?.reveal()).toBe('http://me:pw@proxy:3128');
    expect([credentials.ca, credentials.cert]).toEqual(['the ca', 'the cert']);
    expect([credentials.key?.reveal(), credentials.authorization?.reveal()]).toEqual([
      'the key',
      'Bearer a-token',
    ]);
  });

  it('names files relative to itself, which are read again each time', async () => {
    const file = await write(
      'config',
      kubeconfig({
        cluster: { 'certificate-authority': 'pki/ca.crt' },
        user: { tokenFile: 'token', token: 'old', 'client-certificate': 'c.crt', 'client-key': 'c.key' },
      }),
    );
    await Promise.all([write('pki/ca.crt', 'ca'), write('c.crt', 'c'), write('c.key', 'k')]);
    await write('token', 'first\n');
    const config = await load({ file });

    const first = await config.credentials(false);
    await write('token', 'second\n');
    const second = await config.credentials(false);

    expect([first.ca, first.cert, first.key?.reveal()]).toEqual(['ca', 'c', 'k']);
    expect([first.authorization?.reveal(), second.authorization?.reveal()]).toEqual([
      'Bearer first',
      'Bearer second',
    ]);
  });

  it('may be YAML, with a name and password', async () => {
    const file = await write(
      'config',
      `
current-context: shop
contexts: [{ name: shop, context: { cluster: c, user: u } }]
clusters: [{ name: c, cluster: { server: 'http://127.0.0.1:8080', insecure-skip-tls-verify: true } }]
users: [{ name: u, user: { username: me, password: 1234 } }]
`,
    );

    const config = await load({ file });
    const { authorization } = await config.credentials(false);

    expect([config.unsafeSsl, config.namespace]).toEqual([true, 'default']);
    expect(authorization?.reveal()).toBe(`Basic ${base64('me:1234')}`);
  });

  it('may name nobody', async () => {
    const file = await write('config', kubeconfig({ context: { user: '' } }));

    const config = await load({ file });

    expect(await config.credentials(false)).toEqual({});
  });

  it('is put together from several files, of which the first to say something counts', async () => {
    const first = await write('1', {
      contexts: [{ name: 'shop', context: { cluster: 'c', user: 'u', namespace: 'first' } }],
    });
    const second = await write(
      'other/2',
      kubeconfig({ user: { tokenFile: 'token' }, context: { namespace: 'second' } }),
    );
    await write('other/token', 'a-token');
    const environment = { KUBECONFIG: `${first}:${join(folder, 'missing')}:${second}` };

    const config = await load({ environment });
    const { authorization } = await config.credentials(false);

    expect([config.namespace, authorization?.reveal()]).toEqual(['first', 'Bearer a-token']);
  });

  it('is used for another of its contexts where one is named', async () => {
    const contexts = [{ name: 'test', context: { cluster: 'c', namespace: 'test' } }];
    const file = await write('config', kubeconfig({ contexts, 'current-context': 'none' }));

    const config = await load({ file, context: 'test' });

    expect(config.namespace).toBe('test');
  });

  it('is in the home directory', async () => {
    await write('home/.kube/config', kubeconfig());

    const config = await load();

    expect(config.server).toBe('https://kube.example.com');
  });

  it('goes through the proxy of the environment where it names none', async () => {
    const file = await write('config', kubeconfig());

    const config = await load({ file, environment: { HTTPS_PROXY: 'http://proxy:3128' } });

    expect(config.proxy?.reveal()).toBe('http://proxy:3128');
  });

  it.each([
    ['is not there', undefined, /nowhere: there is no such kubeconfig$/],
    ['is not YAML', 'a: b\n c: [', /config: not YAML, line \d$/],
    ['is a text', 'hello', /config: not a kubeconfig/],
    ['has no current context', kubeconfig({ 'current-context': '' }), /current-context is not set/],
    ['has a context that is not there', kubeconfig({ contexts: [] }), /config: contexts has no "shop"$/],
    ['has no list of contexts', kubeconfig({ contexts: 7 }), /config: contexts: must be a list$/],
    ['has a cluster that is not there', kubeconfig({ clusters: [] }), /config: clusters has no "c"$/],
    ['has a user that is not there', kubeconfig({ users: null }), /config: users has no "u"$/],
    [
      'has no server',
      kubeconfig({ cluster: { server: undefined } }),
      /config: cluster "c": server: is missing$/,
    ],
    [
      'has a server that is no URL',
      kubeconfig({ cluster: { server: 'kube:6443' } }),
      /config: cluster "c": server: "kube:6443" is not an http or https URL$/,
    ],
    [
      'has a proxy of another kind',
      kubeconfig({ cluster: { 'proxy-url': 'socks5://me:pw@proxy' } }),
      /config: cluster "c": proxy-url: only http and https URLs are supported$/,
    ],
    [
      'has data that is not base64',
      kubeconfig({ user: { 'client-key-data': '-----BEGIN' } }),
      /config: user "u": client-key-data: is not base64$/,
    ],
    [
      'has a token that is no text',
      kubeconfig({ user: { token: { a: 1 } } }),
      /config: user "u": token: must be a text$/,
    ],
    [
      'has a provider that is gone',
      kubeconfig({ user: { 'auth-provider': { name: 'gcp' } } }),
      /config: user "u": auth-provider: "gcp" is no longer supported; use its exec plugin$/,
    ],
  ])('that %s is refused', async (_title, content, message) => {
    const file = content === undefined ? join(folder, 'nowhere') : await write('config', content);

    const refused = load({ file });

    await expect(refused).rejects.toMatchObject({
      code: 'KUBECONFIG_INVALID',
      message: expect.stringMatching(message),
    });
  });

  it('whose files are not there is refused when they are needed', async () => {
    const file = await write('config', kubeconfig({ user: { tokenFile: 'token' } }));
    const config = await load({ file });

    const refused = config.credentials(false);

    await expect(refused).rejects.toMatchObject({
      code: 'KUBECONFIG_INVALID',
      message: `${file}: user "u": tokenFile: ${join(folder, 'token')} is not there`,
    });
  });
});

describe('a pod', () => {
  const environment = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' };

  it('finds its cluster by its service account', async () => {
    await Promise.all([write('ca.crt', 'ca'), write('token', 'first'), write('namespace', 'keda\n')]);
    const config = await load({ environment, serviceAccountFolder: folder });
    await write('token', 'second');

    const credentials = await config.credentials(false);

    expect([config.server, config.namespace]).toEqual(['https://[fd00::1]:443', 'keda']);
    expect([credentials.ca, credentials.authorization?.reveal()]).toEqual(['ca', 'Bearer second']);
  });

  it('uses a kubeconfig where KUBECONFIG names one', async () => {
    const file = await write('config', kubeconfig());

    const config = await load({ environment: { ...environment, KUBECONFIG: file } });

    expect(config.origin).toContain(file);
  });
});

describe('a user whose credentials a program makes', () => {
  const program = (text: string) => `#!/bin/sh\n${text}\n`;
  const exec = (more: object = {}) => ({
    exec: { apiVersion: 'client.authentication.k8s.io/v1', command: './bin/login', ...more },
  });
  const execKubeconfig = async (script: string, more: object = {}) => {
    const path = await write('bin/login', program(script));
    await chmod(path, 0o755);
    return await write(
      'config',
      kubeconfig({
        cluster: { 'certificate-authority-data': base64('ca') },
        user: exec(more),
      }),
    );
  };

  it('gets them from it, told of the cluster, and again when they are refused', async () => {
    const script = `
echo x >> "${'$'}(dirname "${'$'}0")/runs"
runs=${'$'}(wc -l < "${'$'}(dirname "${'$'}0")/runs" | tr -d ' ')
case "${'$'}KUBERNETES_EXEC_INFO" in *kube.example.com*) told=told;; esac
echo '{"kind":"ExecCredential","status":{"token":"'${'$'}1-${'$'}EXTRA-${'$'}told-${'$'}runs'","expirationTimestamp":"2999-01-01T00:00:00Z"}}'`;
    const file = await execKubeconfig(script, {
      args: ['arg'],
      env: [{ name: 'EXTRA', value: 'env' }],
      provideClusterInfo: true,
    });
    const config = await load({ file });

    const first = await config.credentials(false);
    const kept = await config.credentials(false);
    const again = await config.credentials(true);

    expect(first.ca).toBe('ca');
    expect([first, kept, again].map(({ authorization }) => authorization?.reveal())).toEqual([
      'Bearer arg-env-told-1',
      'Bearer arg-env-told-1',
      'Bearer arg-env-told-2',
    ]);
  });

  it('is told why there are none', async () => {
    const file = await execKubeconfig('echo "please log in" >&2; exit 1');
    const config = await load({ file });

    const refused = config.credentials(false);

    await expect(refused).rejects.toMatchObject({
      code: 'KUBE_REFUSED',
      message: `${file}: user "u": no credentials could be had: please log in`,
    });
  });
});
