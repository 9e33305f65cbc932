/** A directory as `gp up` leaves it, whose API is the fake backend over real TLS; and a way to run the command in it. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import type { TestContext } from 'node:test';
import { parseControlName } from '../../base/ids.ts';
import { createApiServer } from '../../control/api/server.ts';
import { FakeBackend } from '../../control/api/testing/fake-backend.ts';
import { createAuthority, issue } from '../../pki/authority.ts';
import { publicServerTlsOptions } from '../../pki/tls.ts';
import type { Io } from '../io.ts';
import { runCli } from '../run-cli.ts';

/** What one run of the command did. */
export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Standard output and error are terminals. */
  readonly tty?: boolean;
  readonly signal?: AbortSignal;
  readonly stdin?: PassThrough & { isTTY?: boolean; setRawMode?(raw: boolean): unknown };
  readonly onOut?: (content: string) => void;
}

export interface FakeCluster {
  readonly dir: string;
  readonly backend: FakeBackend;
  readonly apiUrl: string;
  /** Runs `gp` with these words for this cluster (GP_DIR) unless the environment says otherwise. */
  readonly gp: (words: readonly string[], options?: RunOptions) => Promise<Ran>;
}

/** Started for one test, gone after it. */
export async function fakeCluster(t: TestContext): Promise<FakeCluster> {
  const dir = await mkdtemp(join(tmpdir(), 'gp-cli-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const authority = await createAuthority({ clusterName: 'test', daysValid: 1 });
  const identity = { kind: 'control', name: parseControlName('c1') } as const;
  const { certPem, keyPem } = await issue(authority, { identity, daysValid: 1 });
  const { cert = '', key = '' } = publicServerTlsOptions({ caPem: authority.certPem, certPem, keyPem });
  const backend = new FakeBackend().arrange();
  const server = createApiServer({ backend, version: '1.2.3', tls: { cert, key } });
  const port = await server.listen();
  t.after(() => server.close());
  const apiUrl = `https://127.0.0.1:${port}`;
  await writeFile(join(dir, 'ca.pem'), authority.certPem);
  await writeFile(join(dir, 'admin-token'), `${backend.token}\n`, { mode: 0o600 });
  await writeFile(join(dir, 'context.json'), JSON.stringify({ apiUrl, caFile: 'ca.pem', tokenFile: 'admin-token' }));
  const gp = (words: readonly string[], options: RunOptions = {}): Promise<Ran> =>
    runGp(words, { ...options, env: { GP_DIR: dir, HOME: dir, ...options.env } });
  return { dir, backend, apiUrl, gp };
}

/** Runs the command in this process. */
export async function runGp(words: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const { io, ran } = fakeIo(options);
  const code = await runCli(words, io, '1.2.3');
  return { ...ran, code: code === 0 ? ran.code : code };
}

/** Streams that remember; `ran` fills as the command goes on. */
export function fakeIo(options: RunOptions = {}): { readonly io: Io; readonly ran: Ran } {
  const ran = { code: 0, out: '', err: '' };
  const io: Io = {
    out: (content) => {
      const text = typeof content === 'string' ? content : Buffer.from(content).toString();
      ran.out += text;
      options.onOut?.(text);
    },
    err: (text) => {
      ran.err += text;
    },
    setExitCode: (code) => {
      ran.code = code;
    },
    stdin: options.stdin ?? new PassThrough(),
    outIsTty: options.tty === true,
    errIsTty: options.tty === true,
    env: options.env ?? {},
    cwd: options.cwd ?? tmpdir(),
    signal: options.signal ?? new AbortController().signal,
    killSignal: new AbortController().signal,
  };
  return { io, ran };
}
