import { deadline } from '../base/deadline.ts';
import type { KubeClient } from './client.ts';

/** Somebody as the API server knows them. */
export interface ReviewedUser {
  name: string;
  uid?: string;
  groups: readonly string[];
  extra: Readonly<Record<string, readonly string[]>>;
}

/** What is asked about a user; one of the two attributes is given. */
export interface AccessReview {
  user: ReviewedUser;
  resource?: object;
  nonResource?: object;
}

interface TokenReviewAnswer {
  status?: {
    authenticated?: boolean;
    user?: {
      username?: string;
      uid?: string;
      groups?: readonly string[];
      extra?: Readonly<Record<string, readonly string[]>>;
    };
  };
}

interface AccessReviewAnswer {
  status?: { allowed?: boolean; denied?: boolean; reason?: string };
}

/** As long as k8s.io/apiserver waits for either. */
const reviewTimeoutMs = 10_000;

/** Asks the API server who has a token, and who may do what. Both throw Faults where it does not say. */
export function reviewsOf(client: KubeClient) {
  async function ask(path: string, body: object): Promise<unknown> {
    using limit = deadline(undefined, reviewTimeoutMs);
    return await client.raw({ method: 'POST', path, body, signal: limit.signal });
  }

  return {
    /** @returns undefined where nobody has this token */
    async tokenReview(token: string): Promise<ReviewedUser | undefined> {
      const { status } = (await ask('/apis/authentication.k8s.io/v1/tokenreviews', {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenReview',
        spec: { token },
      })) as TokenReviewAnswer;
      const user = status?.user;
      if (status?.authenticated !== true || user === undefined) return undefined;
      const { username: name = '', uid, groups = [], extra = {} } = user;
      return uid === undefined ? { name, groups, extra } : { name, uid, groups, extra };
    },

    async subjectAccessReview({
      user,
      resource,
      nonResource,
    }: AccessReview): Promise<{ allowed: boolean; reason: string }> {
      const { status } = (await ask('/apis/authorization.k8s.io/v1/subjectaccessreviews', {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SubjectAccessReview',
        spec: {
          user: user.name,
          uid: user.uid,
          groups: user.groups,
          extra: user.extra,
          resourceAttributes: resource,
          nonResourceAttributes: nonResource,
        },
      })) as AccessReviewAnswer;
      const allowed = status?.allowed === true && status.denied !== true;
      return { allowed, reason: status?.reason ?? '' };
    },
  };
}
