/**
 * This test also builds the image (about a minute of one processor) beside tests that wait: the guest-cluster story
 * then finds it in the cache.
 */
import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildGuestClusterImage } from './guest-cluster.ts';
import { inspectImage } from './inspect.ts';

const CACHE = fileURLToPath(new URL('../../.cache/images', import.meta.url));
const BUILD_DEADLINE_MS = 300_000;

test('the image passes our own inspection, nobody may change it, and who asks again gets the same files', async () => {
  const options = { cacheDir: CACHE, signal: AbortSignal.timeout(BUILD_DEADLINE_MS) };
  const image = await buildGuestClusterImage(options);
  assert.equal((await inspectImage(image.diskPath)).format, 'qcow2');
  const paths = [image.kernelPath, image.initrdPath, image.diskPath];
  const first = await Promise.all(paths.map((path) => stat(path)));
  for (const { mode } of first) assert.equal(mode & 0o222, 0);
  assert.deepEqual(await buildGuestClusterImage(options), image);
  const again = await Promise.all(paths.map((path) => stat(path)));
  assert.deepEqual(
    again.map(({ ino, mtimeMs }) => [ino, mtimeMs]),
    first.map(({ ino, mtimeMs }) => [ino, mtimeMs]),
  );
});
