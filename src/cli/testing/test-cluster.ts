/**
 * A directory as `gp up` leaves it, whose API is that of a simulated cluster over real TLS; and a way to run the
 * command in it.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { parseControlName } from '../../base/ids.ts';
import { createApiServer } from '../../control/api/server.ts';
import { type TestApi, testApi } from '../../control/testing/api-cluster.ts';
import { createAuthority, issue } from '../../pki/authority.ts';
import { publicServerTlsOptions } from '../../pki/tls.ts';
import { type Ran, type RunOptions, runGp } from './run-gp.ts';

export interface TestCluster extends TestApi {
  readonly dir: string;
  readonly apiUrl: string;
  /** Runs `gp` with these words for this cluster (GP_DIR) unless the environment says otherwise. */
  readonly gp: (words: readonly string[], options?: RunOptions) => Promise<Ran>;
}

/** Started for one test, gone after it. */
export async function testCluster(t: TestContext, shape: Parameters<typeof testApi>[1] = {}): Promise<TestCluster> {
  const dir = await mkdtemp(join(tmpdir(), 'gp-cli-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const authority = await createAuthority({ clusterName: 'test', daysValid: 1 });
  const identity = { kind: 'control', name: parseControlName('c1') } as const;
  const { certPem, keyPem } = await issue(authority, { identity, daysValid: 1 });
  const { cert = '', key = '' } = publicServerTlsOptions({ caPem: authority.certPem, certPem, keyPem });
  const api = await testApi(t, shape);
  const { backend, token } = api;
  const server = createApiServer({ backend, version: '1.2.3', tls: { cert, key } });
  const port = await server.listen();
  t.after(() => server.close());
  const apiUrl = `https://127.0.0.1:${port}`;
  await writeFile(join(dir, 'ca.pem'), authority.certPem);
  await writeFile(join(dir, 'admin-token'), `${token}\n`, { mode: 0o600 });
  await writeFile(join(dir, 'context.json'), JSON.stringify({ apiUrl, caFile: 'ca.pem', tokenFile: 'admin-token' }));
  const gp = (words: readonly string[], options: RunOptions = {}): Promise<Ran> =>
    runGp(words, { ...options, env: { GP_DIR: dir, HOME: dir, ...options.env } });
  return { ...api, dir, apiUrl, gp };
}
