import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../base/errors.ts';
import { Secret } from '../../base/secret.ts';
import { readConnectionString, type StorageService } from './azure-connection-string.ts';

const read = (text: string, service: StorageService = 'queue') =>
  readConnectionString(new Secret(text), service);

describe('a connection string of Azure Storage', () => {
  it.each([
    [
      'the usual one',
      'DefaultEndpointsProtocol=https;AccountName=mine;AccountKey=a2V5;EndpointSuffix=core.windows.net',
      'https://mine.queue.core.windows.net',
    ],
    [
      'another cloud',
      'AccountName=mine;AccountKey=a2V5;EndpointSuffix=core.chinacloudapi.cn',
      'https://mine.queue.core.chinacloudapi.cn',
    ],
    [
      'plain http',
      'DefaultEndpointsProtocol=http;AccountName=mine;AccountKey=a2V5',
      'http://mine.queue.core.windows.net',
    ],
    [
      'its own endpoint',
      'AccountName=mine;AccountKey=a2V5;QueueEndpoint=http://127.0.0.1:10001/mine/',
      'http://127.0.0.1:10001/mine',
    ],
    ['any case and line ends', 'accountname=mine; ACCOUNTKEY=a2V5;\n', 'https://mine.queue.core.windows.net'],
    [
      'a signature and an endpoint',
      'QueueEndpoint=https://mine.example.com;SharedAccessSignature=?sv=1&sig=x%3D',
      'https://mine.example.com',
    ],
    ['the emulator', 'UseDevelopmentStorage=true', 'http://127.0.0.1:10001/devstoreaccount1'],
    [
      'the emulator elsewhere',
      'UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite',
      'http://azurite:10001/devstoreaccount1',
    ],
  ])('finds the queue service of %s', (_title, text, endpoint) => {
    expect(read(text).endpoint).toBe(endpoint);
  });

  it('finds the blob service beside the queue service', () => {
    expect(read('AccountName=mine;AccountKey=a2V5', 'blob').endpoint).toBe(
      'https://mine.blob.core.windows.net',
    );
    expect(read('UseDevelopmentStorage=true', 'blob').endpoint).toBe(
      'http://127.0.0.1:10000/devstoreaccount1',
    );
  });

  it('keeps a key with equals signs, and prefers it to a signature', () => {
    const { credential } = read('AccountName=mine;AccountKey=c2VjcmV0IQ==;SharedAccessSignature=sig=x');

    expect(credential).toMatchObject({ kind: 'key', account: 'mine' });
    expect(credential.kind === 'key' && credential.key.reveal()).toBe('c2VjcmV0IQ==');
  });

  it.each([
    ['SAMPLE', 'Name=Value'],
    ['=hunter2', 'Name=Value'],
    ['AccountKey=hunter2', 'neither an AccountName nor a QueueEndpoint'],
    ['AccountName=mine', 'neither an AccountKey nor a SharedAccessSignature'],
    ['AccountName=mine;AccountKey=', 'neither an AccountKey nor'],
    ['AccountName=mine;AccountKey=hunter2!', 'not base64'],
    ['QueueEndpoint=https://x;AccountKey=hunter2', 'no AccountName'],
    ['AccountName=mine;AccountKey=a2V5;QueueEndpoint=hunter2', 'http or https URL'],
    ['AccountName=mine;AccountKey=a2V5;QueueEndpoint=ftp://hunter2', 'http or https URL'],
    ['AccountName=mine;AccountKey=a2V5;QueueEndpoint=https://x/?sig=hunter2', 'more than a plain URL'],
    ['AccountName=mine;AccountKey=a2V5;QueueEndpoint=https://u:hunter2@x/', 'more than a plain URL'],
    ['AccountName=a b;AccountKey=a2V5', 'http or https URL'],
    ['UseDevelopmentStorage=true;DevelopmentStorageProxyUri=hunter2', 'DevelopmentStorageProxyUri'],
  ])('refuses %j without showing it', (text, sentence) => {
    const fault = (() => {
      try {
        return read(text);
      } catch (thrown) {
        return thrown;
      }
    })();

    expect(fault).toBeInstanceOf(Fault);
    expect(fault).toMatchObject({ code: 'PARAM_INVALID', message: expect.stringContaining(sentence) });
    expect((fault as Fault).message).not.toContain('hunter2');
  });

  it('is read or refused with a fault, whatever it is', () => {
    const names = fc.constantFrom(
      'AccountName',
      'AccountKey',
      'QueueEndpoint',
      'EndpointSuffix',
      'UseDevelopmentStorage',
    );
    const part = fc.tuple(names, fc.string()).map(([name, value]) => `${name}=${value}`);
    const texts = fc.oneof(
      fc.string(),
      fc.array(part).map(parts => parts.join(';')),
    );
    fc.assert(
      fc.property(texts, text => {
        try {
          expect(read(text).endpoint).toMatch(/^https?:/);
        } catch (thrown) {
          expect(thrown).toMatchObject({ code: 'PARAM_INVALID' });
        }
      }),
    );
  });
});
