/**
 * `npm run package`: makes the Debian package in dist/. `--out DIR`: elsewhere; `--version V`: as another version. The
 * time of all files in it is that of the last commit, or SOURCE_DATE_EPOCH.
 */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { VERSION } from '../src/base/version.ts';
import { runProcess } from './lib/processes.ts';
import { root } from './lib/steps.ts';
import { makePackage } from './package/deb.ts';

const GIT_DEADLINE_MS = 10_000;
/** The version that Debian accepts for a package that only Debian has. */
const DEBIAN_VERSION = /^\d[A-Za-z0-9.+~]*$/;

async function epochOf(signal: AbortSignal): Promise<number> {
  const given = process.env['SOURCE_DATE_EPOCH'];
  if (given !== undefined && /^\d{1,12}$/.test(given)) return Number(given);
  const argv = ['git', 'log', '-1', '--format=%ct'] as const;
  const { exitCode, output } = await runProcess({ argv, cwd: root, deadlineMs: GIT_DEADLINE_MS, signal });
  if (exitCode === 0) return Number(output.trim());
  throw new Error('The time of the last commit is not known here: set SOURCE_DATE_EPOCH.');
}

const { values } = parseArgs({ options: { out: { type: 'string' }, version: { type: 'string' } } });
const version = values.version ?? VERSION;
if (!DEBIAN_VERSION.test(version)) throw new Error(`"${version}" is no version of a Debian package.`);
const cancelled = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => cancelled.abort());
const { signal } = cancelled;
const outDir = resolve(root, values.out ?? 'dist');
console.log(await makePackage({ compression: 'xz', root, outDir, version, epochS: await epochOf(signal), signal }));
