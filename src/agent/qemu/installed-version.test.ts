import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { InstalledVersion, parseQemuVersion } from './installed-version.ts';

test('the version is what QEMU prints, without its package', () => {
  const printed = 'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright (c) 2003-2022 …\n';
  assert.equal(parseQemuVersion(printed), '7.2.22');
  assert.equal(parseQemuVersion('QEMU emulator version 10.0.50 (v10.0.0-1-gabc)'), '10.0.50');
  for (const other of ['', 'qemu: not found', 'version 7.2']) assert.equal(parseQemuVersion(other), null);
});

test('another program is noticed, one that cannot be asked keeps what is known', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'gp-version-'));
  const path = process.env['PATH'];
  t.after(async () => {
    process.env['PATH'] = path;
    await rm(directory, { recursive: true });
  });
  process.env['PATH'] = `${directory}:${path}`;
  const install = async (script: string): Promise<void> => {
    const file = join(directory, 'qemu-system-x86_64');
    await rm(file, { force: true });
    await writeFile(file, `#!/bin/sh\n${script}\n`);
    await chmod(file, 0o755);
  };
  const prints = (version: string): string => `echo "QEMU emulator version ${version}"`;
  let nowMs = 0;
  const installed = new InstalledVersion({ nowMs: () => nowMs });
  await install(prints('7.2.1'));
  assert.equal(installed.version, null);
  await installed.look();
  assert.equal(installed.version, '7.2.1');
  await install(prints('7.2.10'));
  await installed.look();
  assert.equal(installed.version, '7.2.1');
  nowMs += 10_000;
  await installed.look();
  assert.equal(installed.version, '7.2.10');
  await install('exit 1');
  nowMs += 10_000;
  await installed.look();
  assert.equal(installed.version, '7.2.10');
});
