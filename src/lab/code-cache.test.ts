import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { codeCacheDir } from './code-cache.ts';

test('what may not be written beside the packages is written to the cluster’s own directory', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'code-cache-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const own = { cacheDir: join(directory, 'own') };
  const shared = join(directory, 'beside', 'packages');
  assert.equal(codeCacheDir(own, shared), shared);
  assert.equal(codeCacheDir(own, shared), shared, 'it is there by now');
  const file = join(directory, 'file');
  await writeFile(file, '');
  assert.equal(codeCacheDir(own, join(file, 'below')), own.cacheDir);
  await chmod(shared, 0o500);
  if (process.geteuid?.() !== 0) assert.equal(codeCacheDir(own, shared), own.cacheDir);
});
