import { timingSafeEqual } from 'node:crypto';
import type { Secret } from '../base/secret.ts';
import { type Handler, headerOf, json, type ServerAnswer, type ServerRequest, splitUrl } from './handler.ts';

/** What the API tells of; the engine has it. */
export interface StatusSource {
  /** All workloads with how they are now. */
  snapshot(): readonly { key: string }[];
  /** The decisions about one workload, oldest first; undefined where there is no such workload. */
  records(key: string): readonly unknown[] | undefined;
}

/**
 * The API that `eventide explain` asks: `GET /v1/workloads` and `GET /v1/records?workload=KEY&last=N`, both JSON.
 * Whoever asks shows the token as a bearer; only the owner of the state folder can read it.
 */
export function statusApi(source: StatusSource, token: Secret): Handler {
  return request => {
    if (!bears(request, token)) return problem(401, 'the token is missing or wrong');
    const { path, query } = splitUrl(request.url);
    if (request.method !== 'GET') return problem(405, 'only GET is answered here');
    if (path === '/v1/workloads') return json(source.snapshot());
    if (path === '/v1/records') return records(source, query);
    return problem(404, `there is no ${path}`);
  };
}

function records(source: StatusSource, query: URLSearchParams): ServerAnswer {
  const key = query.get('workload') ?? '';
  const found = source.records(key);
  if (found === undefined) return problem(404, `there is no workload "${key}"`);
  const last = Number(query.get('last') ?? found.length);
  if (!Number.isInteger(last) || last < 0) return problem(400, '"last" is not a whole number');
  return json(last === 0 ? [] : found.slice(-last));
}

function bears(request: ServerRequest, token: Secret): boolean {
  const shown = Buffer.from(headerOf(request, 'authorization') ?? '');
  const wanted = Buffer.from(`Bearer ${token.reveal()}`);
  return shown.length === wanted.length && timingSafeEqual(shown, wanted);
}

const problem = (status: number, sentence: string) => json({ problem: sentence }, status);
