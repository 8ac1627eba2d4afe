import { X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { authority, clientCertificate, serverCertificate } from '../../test/certificates.ts';
import { requestOf } from '../../test/server-request.ts';
import { manualClock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import type { ClientTrust, User } from './client-identity.ts';
import { type AccessQuestion, delegatedAuth } from './delegated-auth.ts';
import type { Peer, ServerRequest } from './handler.ts';

const start = Date.UTC(2027, 0, 1);
const fingerprint = (pem: string) => new X509Certificate(pem).fingerprint256;

/** Somebody whose certificate is vouched for by the authority of the tests. */
const peer = (over: Partial<Peer> = {}): Peer => ({
  commonName: 'jane',
  organizations: ['devs'],
  chain: [fingerprint(clientCertificate), fingerprint(authority)],
  validFrom: 0,
  validUntil: start + 1_000_000,
  ...over,
});

const frontProxy = {
  cas: [authority],
  allowedNames: ['front-proxy-client'],
  usernameHeaders: ['x-remote-user'],
  uidHeaders: ['x-remote-uid'],
  groupHeaders: ['x-remote-group'],
  extraHeaderPrefixes: ['x-remote-extra-'],
};

const clientsOnly: ClientTrust = { clientCas: [authority] };
const proxyOnly: ClientTrust = { clientCas: [], frontProxy };

const tokens: Record<string, User> = {
  good: { name: 'robot', uid: '7', groups: ['robots'], extra: { pod: ['a'] } },
};

interface BedOptions {
  trust?: ClientTrust;
  /** Who may do what; nobody may do anything unless given. */
  allow?: (question: AccessQuestion) => boolean;
}

/** A guarded handler, and what the API server was asked. */
function bed({ trust = clientsOnly, allow = () => false }: BedOptions = {}) {
  const clock = manualClock(start);
  const questions: AccessQuestion[] = [];
  const shown: string[] = [];
  const world = { trust, away: false };
  const guard = delegatedAuth({
    reviewer: {
      async tokenReview(token) {
        shown.push(token);
        return tokens[token];
      },
      async subjectAccessReview(question) {
        questions.push(question);
        if (world.away) throw new Fault('KUBE_UNREACHABLE', 'the API server is away');
        return allow(question) ? { allowed: true, reason: '' } : { allowed: false, reason: 'no rule' };
      },
    },
    trust: () => world.trust,
    clock,
    log: silentLog,
  });
  const handler = guard(() => ({ status: 200, body: 'through' }));
  const ask = async (url: string, over: Partial<ServerRequest> = {}) => {
    const answer = await handler(requestOf(url, over));
    const text = String(answer.body);
    return { status: answer.status, body: answer.status === 200 ? text : JSON.parse(text) };
  };
  return { ask, questions, shown, clock, world };
}

const metric = '/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/s0-mails';

describe('who somebody is', () => {
  const proxied = {
    peer: peer({ commonName: 'front-proxy-client' }),
    headers: {
      'x-remote-user': 'joe',
      'x-remote-uid': '42',
      'x-remote-group': ['CN=a,DC=b', 'ops'],
      'x-remote-extra-scopes%2fof': ['read', 'write'],
    },
  };
  const joe = {
    name: 'joe',
    uid: '42',
    groups: ['CN=a,DC=b', 'ops', 'system:authenticated'],
    extra: { 'scopes/of': ['read', 'write'] },
  };
  const id = `X509SHA256=${fingerprint(clientCertificate).replaceAll(':', '').toLowerCase()}`;
  const jane = {
    name: 'jane',
    groups: ['devs', 'system:authenticated'],
    extra: { 'authentication.kubernetes.io/credential-id': [id] },
  };
  const nobody = { name: 'system:anonymous', groups: ['system:unauthenticated'], extra: {} };
  const robot = { ...tokens['good'], groups: ['robots', 'system:authenticated'] };
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

  it.each<[string, ClientTrust, Partial<ServerRequest>, object]>([
    ['on whose behalf a front proxy asks', proxyOnly, proxied, joe],
    ['the client itself, by its certificate', clientsOnly, { peer: peer() }, jane],
    ['the client, whatever its headers say', clientsOnly, { ...proxied, peer: peer() }, jane],
    ['the owner of a token', clientsOnly, { headers: bearer('good') }, robot],
    [
      'the owner of a token, where the certificate is of no use',
      clientsOnly,
      { headers: bearer('good'), peer: peer({ chain: [] }) },
      robot,
    ],
    ['nobody, without any of them', clientsOnly, {}, nobody],
    ['nobody, by headers alone', proxyOnly, { headers: proxied.headers }, nobody],
  ])('is %s', async (_title, trust, request, user) => {
    const { ask, questions } = bed({ trust });

    await ask(metric, request);

    expect(questions[0]?.user).toEqual(user);
  });

  it.each<[string, ClientTrust, Partial<ServerRequest>]>([
    ['a token that nobody has', clientsOnly, { headers: bearer('bad') }],
    ['a certificate that nobody vouches for', clientsOnly, { peer: peer({ chain: [] }) }],
    ['a certificate of another authority', { clientCas: [serverCertificate] }, { peer: peer() }],
    ['a certificate that has run out', clientsOnly, { peer: peer({ validUntil: start - 1 }) }],
    ['a certificate that is not valid yet', clientsOnly, { peer: peer({ validFrom: start + 1 }) }],
    ['a proxy that has another name', proxyOnly, { ...proxied, peer: peer({ commonName: 'jane' }) }],
    [
      'a proxy that speaks for nobody',
      { ...proxyOnly, clientCas: [serverCertificate] },
      { peer: proxied.peer },
    ],
  ])('is not known from %s', async (_title, trust, request) => {
    const { ask, questions } = bed({ trust });

    const { status, body } = await ask(metric, request);

    expect([status, body.reason, body.message]).toEqual([401, 'Unauthorized', 'Unauthorized']);
    expect(questions).toEqual([]);
  });

  it('is forgotten with the authority that vouched for it, on an open connection too', async () => {
    const { ask, world } = bed();
    const before = await ask(metric, { peer: peer() });

    world.trust = { clientCas: [serverCertificate] };

    expect([before.status, (await ask(metric, { peer: peer() })).status]).toEqual([403, 401]);
  });

  it('is asked once for a token in ten seconds', async () => {
    const { ask, shown, clock } = bed();

    await Promise.all([1, 2, 3].map(() => ask(metric, { headers: bearer('good') })));
    await ask(metric, { headers: bearer('bad') });
    await ask(metric, { headers: bearer('bad') });
    await clock.advance(10_000);
    await ask(metric, { headers: bearer('good') });

    expect(shown).toEqual(['good', 'bad', 'good']);
  });
});

describe('what somebody may', () => {
  const request = { peer: peer() };
  const onlyOne = ({ resource }: AccessQuestion) => resource?.resource === 's0-mails';

  it('is asked of all metrics first, so that an autoscaler is asked about once', async () => {
    const { ask, questions } = bed({ allow: () => true });

    for (const name of ['s0-a', 's0-b', 's0-c']) {
      expect((await ask(metric.replace('s0-mails', name), request)).status).toBe(200);
    }

    expect(questions.map(({ resource }) => resource)).toEqual([
      {
        namespace: '',
        verb: 'list',
        group: 'external.metrics.k8s.io',
        version: 'v1beta1',
        resource: '*',
      },
    ]);
  });

  it('is asked of the one metric where not all are allowed', async () => {
    const { ask, questions } = bed({ allow: onlyOne });

    const answers = [await ask(metric, request), await ask(metric.replace('mails', 'other'), request)];

    expect(answers.map(({ status }) => status)).toEqual([200, 403]);
    expect(questions[1]?.resource).toEqual({
      namespace: 'shop',
      verb: 'list',
      group: 'external.metrics.k8s.io',
      version: 'v1beta1',
      resource: 's0-mails',
      subresource: '',
      name: '',
    });
  });

  it('is said in the words of the API server where it is nothing', async () => {
    const { ask } = bed();

    const [one, path] = [await ask(metric, request), await ask('/openapi/v2', request)];

    expect(one.body).toMatchObject({
      kind: 'Status',
      reason: 'Forbidden',
      code: 403,
      details: { group: 'external.metrics.k8s.io', kind: 's0-mails' },
      message:
        's0-mails.external.metrics.k8s.io is forbidden: User "jane" cannot list resource "s0-mails" in API group ' +
        '"external.metrics.k8s.io" in the namespace "shop": no rule',
    });
    expect(path.body.message).toBe('forbidden: User "jane" cannot get path "/openapi/v2": no rule');
  });

  it('cannot be mistaken for a page', async () => {
    const { body } = await bed().ask(metric, { peer: peer({ commonName: '<script>' }) });

    expect(body.message).toContain('User "&lt;script&gt;" cannot');
  });

  it.each(['/healthz', '/livez', '/readyz'])('includes %s for everybody, without asking', async path => {
    const { ask, questions } = bed();

    expect([(await ask(path)).status, questions]).toEqual([200, []]);
  });

  it('is everything for those whom the API server lets do anything', async () => {
    const { ask, questions } = bed();

    const { status } = await ask(metric, { peer: peer({ organizations: ['system:masters'] }) });

    expect([status, questions]).toEqual([200, []]);
  });

  it('is asked again after ten seconds, be it yes or no', async () => {
    const { ask, questions, clock } = bed({ allow: onlyOne });

    for (const wait of [0, 9_999, 1]) {
      await clock.advance(wait);
      await ask(metric, request);
    }

    expect(questions).toHaveLength(4);
  });

  it('is asked once by many who ask at the same time', async () => {
    const { ask, questions } = bed({ allow: () => true });

    await Promise.all(Array.from({ length: 50 }, () => ask(metric, request)));

    expect(questions).toHaveLength(1);
  });

  it('is unknown while the API server is away, and asked again afterwards', async () => {
    const { ask, world } = bed({ allow: () => true });
    world.away = true;
    const during = await ask(metric, request);

    world.away = false;
    const after = await ask(metric, request);

    expect([during.status, during.body.message]).toEqual([500, expect.stringContaining('is away')]);
    expect(after.status).toBe(200);
  });

  it.each([
    [
      'a slash that is encoded',
      '/apis/external.metrics.k8s.io/v1beta1/namespaces%2Fshop%2Fs0-mails',
      's0-mails',
    ],
    ['slashes too many', '//apis//external.metrics.k8s.io/v1beta1/namespaces/shop/s0-mails/', 's0-mails'],
    [
      'a metric called namespaces',
      '/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/namespaces',
      'namespaces',
    ],
  ])('is asked about what the path means, with %s', async (_title, url, resource) => {
    const { ask, questions } = bed();

    await ask(url, request);

    expect(questions[1]?.resource).toMatchObject({ namespace: 'shop', resource });
  });
});
