import { describe, expect, it } from 'vitest';
import { noTokens } from '../../../test/no-tokens.ts';
import { Fault } from '../../base/errors.ts';
import { Secret } from '../../base/secret.ts';
import { noIdentity } from '../../spec/pod-identity.ts';
import type { Problem } from '../../spec/problem.ts';
import type { AwsRole, TokenSource } from '../context.ts';
import { type MskIdentity, mskIdentity, saslMsk, saslMskBearer } from './kafka-msk.ts';

const now = Date.UTC(2026, 0, 15, 12);
const keys = {
  accessKeyId: 'AKIDEXAMPLE',
  secretAccessKey: new Secret('wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY'),
};
const session = { ...keys, sessionToken: new Secret('FwoGZXIvYXdzE+/=tok') };
const host = 'b-1.mycluster.abc123.kafka.eu-west-1.amazonaws.com';

function tokenSource() {
  const asked: AwsRole[] = [];
  const refused: unknown[] = [];
  const tokens: TokenSource = {
    ...noTokens,
    async awsCredentials(role) {
      asked.push(role);
      return keys;
    },
    refused: given => void refused.push(given),
  };
  return { asked, refused, tokens };
}

const at = { host, now, signal: new AbortController().signal };
const as = (who: MskIdentity['who']): MskIdentity => ({ region: 'eu-west-1', who });

// What botocore 1.43 signs for the same request with the same keys at the same time.
describe('a login to MSK', () => {
  it('is a signed URL as bearer token, with the keys of whoever it is to be', async () => {
    const { asked, tokens } = tokenSource();
    const sent: string[] = [];
    const role = { roleArn: 'arn:aws:iam::1:role/r', region: 'eu-west-1' };

    for (const who of [keys, role]) {
      await saslMskBearer(as(who), tokens).login(async bytes => {
        sent.push(bytes.toString());
        return Buffer.alloc(0);
      }, at);
    }

    const [url] = sent.map(text => Buffer.from(text.slice(16, -2), 'base64url').toString());
    expect(sent[1]).toBe(sent[0]);
    expect(asked).toEqual([role]);

    expect(url).toBe(
      'https://kafka.eu-west-1.amazonaws.com/?Action=kafka-cluster%3AConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20260115%2Feu-west-1%2Fkafka-cluster%2Faws4_request&X-Amz-Date=20260115T120000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Signature=30eddf2b361a236b82f30ea5f0bed0357527083752cb417ae9b8cf2fc2ac087a&User-Agent=eventide',
    );
  });

  it('is a JSON of lower-case names for the mechanism of its own, and wants an answer', async () => {
    const sent: string[] = [];
    const login = saslMsk(as(session), tokenSource().tokens);

    await login.login(async bytes => {
      sent.push(bytes.toString());
      return Buffer.from('{"version":"2020_10_22"}');
    }, at);
    const unanswered = login.login(async () => Buffer.alloc(0), at);

    expect(login.mechanism).toBe('AWS_MSK_IAM');
    expect(JSON.parse(sent[0] ?? '')).toEqual({
      version: '2020_10_22',
      host,
      'user-agent': 'eventide',
      action: 'kafka-cluster:Connect',
      'x-amz-algorithm': 'AWS4-HMAC-SHA256',
      'x-amz-credential': 'AKIDEXAMPLE/20260115/eu-west-1/kafka-cluster/aws4_request',
      'x-amz-date': '20260115T120000Z',
      'x-amz-expires': '900',
      'x-amz-security-token': 'FwoGZXIvYXdzE+/=tok',
      'x-amz-signedheaders': 'host',
      'x-amz-signature': 'da5a62c396ab2dd257e32ecef07dbea0ae8ffc8ec8d512b789574f9f3cc7121c',
    });
    await expect(unanswered).rejects.toMatchObject({ code: 'SOURCE_REFUSED' });
  });

  it.each([saslMsk, saslMskBearer])('gives keys back that the broker does not accept (%O)', async way => {
    const { refused, tokens } = tokenSource();
    const refuse = () => Promise.reject(new Fault('SOURCE_REFUSED', 'no'));

    await expect(way(as({ roleArn: 'r' }), tokens).login(refuse, at)).rejects.toThrow('no');
    await expect(way(as(keys), tokens).login(refuse, at)).rejects.toThrow('no');

    expect(refused).toEqual([keys]);
  });

  const none = {
    awsRegion: 'eu-west-1',
    awsAccessKeyID: undefined,
    awsSecretAccessKey: undefined,
    awsSessionToken: undefined,
    awsRoleArn: undefined,
    identityOwner: undefined,
    tls: 'enable' as const,
  };

  it.each([
    ['the keys', { awsAccessKeyID: 'AKIDEXAMPLE', awsSecretAccessKey: keys.secretAccessKey }, {}, keys],
    ['a role', { awsRoleArn: 'role' }, {}, { region: 'eu-west-1', roleArn: 'role' }],
    ['the operator', { identityOwner: 'operator' as const }, {}, { region: 'eu-west-1' }],
    ['the pod identity', {}, { provider: 'aws' as const }, { region: 'eu-west-1' }],
    [
      'the role of the pod identity',
      { awsRoleArn: 'role' },
      { provider: 'aws' as const, externalID: 'x' },
      { region: 'eu-west-1', roleArn: 'role', webIdentity: true, externalId: 'x' },
    ],
  ])('is by %s', (_title, values, identity, who) => {
    const problems: Problem[] = [];

    const found = mskIdentity({ ...none, ...values }, { ...noIdentity, ...identity }, problems);

    expect(problems).toEqual([]);
    expect(found).toEqual(as(who));
  });
});
