/**
 * The Debian package: the same bytes each time, the findings of Debian's own checker, and how confined its services
 * are.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { makePackage } from '../../scripts/package/deb.ts';
import { VERSION } from '../../src/base/version.ts';
import { unitFiles } from '../../src/install/units.ts';
import { run, tryRun } from '../../src/os/child-process.ts';
import { buildWeb } from './delivered.ts';

const ROOT = join(import.meta.dirname, '../..');
const EPOCH_S = 1_796_000_000;
const SIGNAL = AbortSignal.timeout(20 * 60_000);
/** Exposure by `systemd-analyze security`, 0 (confined) to 10. */
const EXPOSURE_MAX = { agent: 4, storage: 4, control: 3, etcd: 3 };

let work = '';
before(async () => {
  work = await mkdtemp(join(tmpdir(), 'package-'));
  await buildWeb(SIGNAL);
});
after(() => rm(work, { recursive: true, force: true }));

function packageIn(folder: string): Promise<string> {
  const outDir = join(work, folder);
  return makePackage({ root: ROOT, outDir, version: VERSION, epochS: EPOCH_S, signal: SIGNAL, compression: 'gzip' });
}

async function sha256(file: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(file))
    .digest('hex');
}

test('two packages of one commit are the same bytes, and Debian finds no error in them', async () => {
  const first = await packageIn('first');
  const second = await packageIn('second');
  assert.equal(await sha256(first), await sha256(second));
  await rm(join(work, 'second'), { recursive: true });
  const judge = ['lintian', '--allow-root', '--tag-display-limit=0', '--fail-on=error', first];
  // It leaves a file in the directory for temporary files.
  const env = { ...process.env, TMPDIR: work };
  const { stdout, stderr, exitCode } = await tryRun(judge, { deadlineMs: 600_000, env });
  assert.equal(exitCode, 0, `${stdout}${stderr}`);
  const tree = join(work, 'tree');
  await run(['dpkg-deb', '-x', first, tree], { deadlineMs: 120_000 });
  // The programs know where they are: here they are elsewhere than in the package.
  const lib = join(tree, 'usr/lib/groundplane');
  const version = await run([join(lib, 'node'), join(lib, 'lib/cli/main.mjs'), 'version'], { deadlineMs: 30_000 });
  assert.equal(version.stdout, `${VERSION}\n`);
  const help = await run([join(lib, 'node'), join(lib, 'lib/cli/main.mjs'), '--help'], { deadlineMs: 30_000 });
  assert.match(help.stdout, /^Usage: gp /);
  const up = await tryRun([join(lib, 'node'), join(lib, 'lib/cli/main.mjs'), 'up'], { deadlineMs: 30_000 });
  assert.deepEqual([up.exitCode, /from a clone of the project/.test(up.stderr)], [2, true]);
});

test('the services are confined', async () => {
  const directory = join(work, 'units');
  await mkdir(directory);
  for (const [role, exposureMax] of Object.entries(EXPOSURE_MAX)) {
    const name = `groundplane-${role}.service`;
    const file = join(directory, name);
    await writeFile(file, unitFiles().get(name) ?? assert.fail(`there is no ${name}`));
    const { stdout } = await run(['systemd-analyze', 'security', '--no-pager', '--offline=true', file], {
      deadlineMs: 60_000,
    });
    const exposure = Number(/Overall exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1]);
    assert.ok(exposure < exposureMax, `${name}: ${exposure}`);
  }
});
