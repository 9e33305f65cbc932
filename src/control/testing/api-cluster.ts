/**
 * For tests: a simulated cluster behind the API's backend, in real time or twenty times faster, and ways to disturb
 * single calls.
 */
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import { type CertifiedKey, createAuthority } from '../../pki/authority.ts';
import { createApiToken } from '../../pki/join-token.ts';
import { ApiCluster, type ApiClusterOptions } from '../../sim/api/api-cluster.ts';
import type { Call } from '../api/call.ts';
import type { Backend } from '../backend/backend.ts';
import { ClusterAuthority } from '../cluster-authority.ts';

const SPEED = 20;

/** A simulated cluster with the backend of its leader. */
export interface TestApi {
  readonly cluster: ApiCluster;
  readonly backend: Backend;
  /** The administrator's token. */
  readonly token: string;
}

/** The circumstances of a direct call. */
export const CALL: Call = { principal: { name: 'test' }, signal: new AbortController().signal };

let authority: CertifiedKey | null = null;

/**
 * Starts a cluster (ApiClusterOptions: 1 control node, 1 storage node, 3 hosts unless told otherwise) with a
 * certificate authority.
 */
export async function startTestApi(options: Omit<ApiClusterOptions, 'adminToken'> = {}): Promise<TestApi> {
  authority ??= await createAuthority({ clusterName: 'test', daysValid: 1 });
  const { token } = createApiToken();
  const cluster = await ApiCluster.start({
    speed: SPEED,
    authority: new ClusterAuthority(authority),
    ...options,
    adminToken: token,
  });
  return { cluster, backend: cluster.backend(), token };
}

/** The same cluster, for one test. */
export async function testApi(t: TestContext, options: Omit<ApiClusterOptions, 'adminToken'> = {}): Promise<TestApi> {
  const api = await startTestApi(options);
  t.after(() => api.cluster.stop());
  return api;
}

/** Makes the next call of a method reject. `restore` ends that, and answers whether no call came. */
export function failOnce<T extends object>(of: T, method: keyof T, error: Error): { restore(): boolean } {
  const original = of[method] as (...args: unknown[]) => unknown;
  let isWaiting = true;
  const restore = (): boolean => {
    const wasWaiting = isWaiting;
    isWaiting = false;
    replace(of, method, original);
    return wasWaiting;
  };
  replace(of, method, async () => {
    restore();
    throw error;
  });
  return { restore };
}

/** Makes every call of a method hang until its signal aborts. */
export function hang<T extends object>(of: T, method: keyof T): void {
  replace(of, method, async (...args) => {
    const call = args.find((argument) => typeof argument === 'object' && argument !== null && 'signal' in argument);
    await once((call as Call).signal, 'abort');
  });
}

/** Resolves when a method is called next; the call goes on. */
export function called<T extends object>(of: T, method: keyof T): Promise<void> {
  const original = of[method] as (...args: unknown[]) => unknown;
  return new Promise((resolve) => {
    replace(of, method, (...args) => {
      replace(of, method, original);
      resolve();
      return original.apply(of, args);
    });
  });
}

/** Puts another function in the place of a method of this one object. */
export function replace<T extends object>(of: T, method: keyof T, by: (...args: unknown[]) => unknown): void {
  Object.defineProperty(of, method, { value: by, configurable: true, writable: true });
}
