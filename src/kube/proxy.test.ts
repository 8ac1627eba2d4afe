import { describe, expect, it } from 'vitest';
import { proxyFor } from './proxy.ts';

const proxy = 'http://proxy:3128';

describe('the proxy for an API server', () => {
  it.each([
    ['https://kube.example.com', { HTTPS_PROXY: proxy }, proxy],
    ['https://kube.example.com', { https_proxy: 'proxy:3128' }, proxy],
    ['https://kube.example.com', { HTTP_PROXY: proxy }, undefined],
    ['http://kube.example.com', { HTTP_PROXY: proxy }, proxy],
    ['https://kube.example.com', { HTTPS_PROXY: '' }, undefined],
    ['https://kube.example.com', { HTTPS_PROXY: proxy, NO_PROXY: '*' }, undefined],
    ['https://kube.example.com', { HTTPS_PROXY: proxy, NO_PROXY: 'a, example.com' }, undefined],
    ['https://example.com', { HTTPS_PROXY: proxy, NO_PROXY: 'example.com' }, undefined],
    ['https://example.com', { HTTPS_PROXY: proxy, NO_PROXY: '.example.com' }, proxy],
    ['https://kube.example.com', { HTTPS_PROXY: proxy, no_proxy: '.example.com' }, undefined],
    ['https://notexample.com', { HTTPS_PROXY: proxy, NO_PROXY: 'example.com' }, proxy],
    ['https://example.com:6443', { HTTPS_PROXY: proxy, NO_PROXY: 'example.com:443' }, proxy],
    ['https://example.com:6443', { HTTPS_PROXY: proxy, NO_PROXY: 'example.com:6443' }, undefined],
    ['https://10.96.0.1', { HTTPS_PROXY: proxy, NO_PROXY: '10.0.0.0/8' }, undefined],
    ['https://11.96.0.1', { HTTPS_PROXY: proxy, NO_PROXY: '10.0.0.0/8' }, proxy],
    ['https://10.96.0.1', { HTTPS_PROXY: proxy, NO_PROXY: '10.96.0.1' }, undefined],
    ['https://10.96.0.1', { HTTPS_PROXY: proxy, NO_PROXY: '10.0.0.0/99' }, proxy],
    ['https://[fd00::1]:443', { HTTPS_PROXY: proxy, NO_PROXY: 'fd00::/8' }, undefined],
    ['https://[fd00::1]:443', { HTTPS_PROXY: proxy, NO_PROXY: 'fd00::1' }, undefined],
    ['https://127.0.0.1:6443', { HTTPS_PROXY: proxy }, undefined],
    ['https://localhost:6443', { HTTPS_PROXY: proxy }, undefined],
  ])('%s with %j is %s', (server, environment, expected) => {
    expect(proxyFor(server, environment)?.reveal()).toBe(expected);
  });
});
