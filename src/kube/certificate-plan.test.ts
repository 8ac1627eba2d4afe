import { beforeAll, describe, expect, it } from 'vitest';
import { Secret } from '../base/secret.ts';
import { type Identity, issueCertificate, makeAuthority } from '../base/x509.ts';
import { type CertificatePems, checkEveryMs, planCertificates } from './certificate-plan.ts';

const day = 86_400_000;
const hour = day / 24;
const made = Date.UTC(2026, 0, 1);
const dnsNames = ['keda-operator', 'keda-metrics-apiserver.keda.svc'];

let ca: Identity;
let otherCa: Identity;
let server: Identity;
let otherServer: Identity;

const authority = () =>
  makeAuthority({
    commonName: 'KEDA',
    organization: 'KEDAORG',
    notBefore: made - hour,
    notAfter: made + 3650 * day,
  });

beforeAll(async () => {
  [ca, otherCa] = await Promise.all([authority(), authority()]);
  const asked = { commonName: 'keda-operator', dnsNames, notBefore: made - hour, notAfter: made + 365 * day };
  [server, otherServer] = await Promise.all([issueCertificate(ca, asked), issueCertificate(otherCa, asked)]);
});

const nothing = new Secret('');

const pems = (over: Partial<CertificatePems> = {}): CertificatePems => ({
  ca: ca.cert,
  caKey: ca.key,
  cert: server.cert,
  key: server.key,
  ...over,
});

const plan = (given: CertificatePems, afterMs = hour, names = dnsNames) =>
  planCertificates(given, { dnsNames: names, now: made + afterMs });

describe('planCertificates', () => {
  it.each<[string, () => CertificatePems, number, string]>([
    ['leaves what is well as it is', () => pems(), hour, 'nothing'],
    [
      'makes all where there is nothing',
      () => pems({ ca: '', caKey: nothing, cert: '', key: nothing }),
      hour,
      'both',
    ],
    [
      'makes all where there is nonsense',
      () => pems({ ca: 'x', caKey: new Secret('x'), cert: 'x' }),
      hour,
      'both',
    ],
    [
      'makes a server certificate where there is none',
      () => pems({ cert: '', key: nothing }),
      hour,
      'server',
    ],
    ['makes one where the key is of another', () => pems({ key: otherServer.key }), hour, 'server'],
    [
      'makes one where nobody vouches for it',
      () => pems({ cert: otherServer.cert, key: otherServer.key }),
      hour,
      'server',
    ],
    ['leaves it until 90 days before its end', () => pems(), 275 * day - 1, 'nothing'],
    ['renews it 90 days before its end', () => pems(), 275 * day, 'server'],
    ['renews it when it is over', () => pems(), 400 * day, 'server'],
    ['renews the authority too, 90 days before its end', () => pems(), 3560 * day, 'both'],
    [
      'renews an authority alone whose key is lost, while the server certificate goes on',
      () => pems({ caKey: nothing }),
      hour,
      'authority',
    ],
    [
      'has the new authority vouch for the server once the API servers trust it',
      () => pems({ ca: otherCa.cert + ca.cert, caKey: otherCa.key }),
      300_000,
      'server',
    ],
  ])('%s', (_title, given, afterMs, make) => {
    expect(plan(given(), afterMs).make).toBe(make);
  });

  it('looks again twice a day', () => {
    expect(plan(pems())).toEqual({ make: 'nothing', checkInMs: checkEveryMs });
  });

  it('waits with the new authority until the API servers have learned of it', () => {
    const rotated = pems({ ca: otherCa.cert + ca.cert, caKey: otherCa.key });

    expect(plan(rotated, 60_000)).toEqual({ make: 'nothing', checkInMs: 240_000 });
  });

  it('makes a server certificate that has every name we are called by', () => {
    expect(plan(pems(), hour, [...dnsNames, 'keda-admission-webhooks']).make).toBe('server');
  });
});
