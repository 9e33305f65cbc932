import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { parseSha256 } from '../base/ids.ts';
import { type ArtifactUpload, Pool } from './pool.ts';

const MIB = 1024 ** 2;
const FREE_BYTES = 64 * MIB;

/** A pool with room for exactly 64 MiB more, whatever other processes do to the free space of the file system. */
async function smallPool(t: TestContext) {
  const directory = await mkdtemp(join(tmpdir(), 'pool-'));
  t.after(() => rm(directory, { recursive: true }));
  const pool = await Pool.open({
    directory,
    reserveBytes: MIB,
    nvramTemplate: '/none',
    sharedFaults: async () => [],
    readSpace: async () => ({ totalBytes: 1024 * MIB, freeBytes: MIB + FREE_BYTES }),
  });
  const receive = (content: Buffer, more: Partial<ArtifactUpload> = {}) => {
    const sha256 = parseSha256(createHash('sha256').update(content).digest('hex'));
    const stream = Readable.from([content], { objectMode: false });
    const received = pool.receiveArtifact(sha256, { kind: 'disk-raw', stream, sizeBytes: content.length, ...more });
    return received.then((info) => ({ info, path: pool.artifactPath(sha256) }));
  };
  return { pool, directory, receive };
}

const holes = (...data: readonly Buffer[]): Buffer =>
  Buffer.concat(data.flatMap((each) => [Buffer.alloc(60 * MIB), each]));

test('zeroes of an upload are holes in the pool, and it is taken where its data has room', async (t) => {
  const { receive } = await smallPool(t);
  const content = holes(Buffer.alloc(MIB, 1), Buffer.alloc(MIB, 2));
  await assert.rejects(receive(content), { code: 'no-capacity' });
  const { info, path } = await receive(content, { dataBytes: 2 * MIB });
  assert.deepEqual([info.sizeBytes, info.virtualSizeBytes], [content.length, content.length]);
  assert.ok((await readFile(path)).equals(content));
  assert.ok((await stat(path)).blocks * 512 <= 2 * MIB);
});

test('an upload that holds more than it said, or does not fit, leaves nothing', async (t) => {
  const { receive, directory } = await smallPool(t);
  const content = holes(Buffer.alloc(5 * MIB, 1));
  await assert.rejects(receive(content, { dataBytes: MIB }), /has data where it announced zeroes/);
  await assert.rejects(receive(content, { dataBytes: 65 * MIB }), { code: 'no-capacity' });
  assert.deepEqual([...(await readdir(join(directory, 'artifacts'))), ...(await readdir(join(directory, 'tmp')))], []);
});

test('whatever the umask is, the tools of another user may pass through the directories of a pool', async (t) => {
  const umask = process.umask(0o077);
  t.after(() => process.umask(umask));
  const { directory } = await smallPool(t);
  for (const name of ['disks', 'artifacts', 'tmp'])
    assert.equal((await stat(join(directory, name))).mode & 0o777, 0o711, name);
});

test('a pool reports the largest file that its file system has', async (t) => {
  const { pool, directory } = await smallPool(t);
  const { largestFileBytes } = await pool.space();
  assert.ok(Number(largestFileBytes) >= 1024 ** 4, `${largestFileBytes}`);
  assert.deepEqual(await readdir(join(directory, 'tmp')), []);
});
