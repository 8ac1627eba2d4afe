import { BlockList, isIP } from 'node:net';
import { Secret } from '../base/secret.ts';
import type { KubeEnvironment } from './kubeconfig.ts';

/**
 * The proxy that the environment names for a server, as Go programs understand HTTPS_PROXY, HTTP_PROXY and
 * NO_PROXY: names cover their subdomains, networks are written `10.0.0.0/8`, and this machine is never behind a
 * proxy.
 */
export function proxyFor(server: string, environment: KubeEnvironment): Secret | undefined {
  const url = new URL(server);
  const variable = (name: string) => environment[name] || environment[name.toLowerCase()] || undefined;
  const proxy = variable(url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY');
  if (proxy === undefined || isExempt(url, variable('NO_PROXY') ?? '')) return undefined;
  return new Secret(/^[a-z0-9]+:\/\//i.test(proxy) ? proxy : `http://${proxy}`);
}

function isExempt(url: URL, exemptions: string): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))) return true;
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  return exemptions
    .split(',')
    .map(entry => entry.trim().toLowerCase())
    .some(entry => entry !== '' && covers(entry, host, port));
}

function covers(entry: string, host: string, port: string): boolean {
  if (entry === '*') return true;
  const network = /^(.+)\/(\d+)$/.exec(entry);
  if (network !== null) return isIn(host, { address: network[1] ?? '', bits: Number(network[2]) });
  const [, name = '', onlyPort] = /^(.*?)(?::(\d+))?$/.exec(isIP(entry) ? `${entry}:${port}` : entry) ?? [];
  if (onlyPort !== undefined && onlyPort !== port) return false;
  const suffix = name.replace(/^\*?\./, '');
  // Go: `.example.com` is the subdomains alone, `example.com` the name as well.
  return host.endsWith(`.${suffix}`) || (suffix === name && host === suffix);
}

function isIn(host: string, network: { address: string; bits: number }): boolean {
  const family = (address: string) => (isIP(address) === 6 ? 'ipv6' : 'ipv4');
  if (isIP(host) === 0 || isIP(network.address) === 0) return false;
  if (network.bits > (isIP(network.address) === 6 ? 128 : 32)) return false;
  const list = new BlockList();
  list.addSubnet(network.address, network.bits, family(network.address));
  return list.check(host, family(host));
}
