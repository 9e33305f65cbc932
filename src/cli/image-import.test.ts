import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import type { ArtifactUpload } from '../control/api/call.ts';
import { testCluster } from './testing/test-cluster.ts';

const MIB = 1024 ** 2;
const words = (line: string): string[] => line.split(' ');
const sha256 = (content: Buffer): string => createHash('sha256').update(content).digest('hex');
/** A raw disk: 3 MiB of data between zeroes. */
const RAW = Buffer.concat([Buffer.alloc(MIB), Buffer.alloc(3 * MIB, 5), Buffer.alloc(MIB)]);

async function cluster(t: TestContext) {
  const made = await testCluster(t);
  const { backend } = made;
  const uploads: Omit<ArtifactUpload, 'body'>[] = [];
  const original = backend.artifacts.put.bind(backend.artifacts);
  backend.artifacts.put = (upload, call) => {
    uploads.push(upload);
    return original(upload, call);
  };
  const temporary = join(made.dir, 'temporary');
  await mkdir(temporary);
  const gp: typeof made.gp = async (line, options) => {
    const ran = await made.gp(line, { ...options, env: { TMPDIR: temporary } });
    assert.deepEqual(readdirSync(temporary), [], 'no temporary file is left');
    return ran;
  };
  return { ...made, gp, uploads };
}

test('gzip, zstd and xz are unpacked, from a file and from standard input', async (t) => {
  const { gp, dir, backend } = await cluster(t);
  const packed = {
    plain: RAW,
    gzip: gzipSync(RAW),
    members: Buffer.concat([gzipSync(RAW.subarray(0, MIB)), gzipSync(RAW.subarray(MIB))]),
    zstd: zstdCompressSync(RAW),
    frames: Buffer.concat([zstdCompressSync(RAW.subarray(0, MIB)), zstdCompressSync(RAW.subarray(MIB))]),
    xz: execFileSync('xz', ['--stdout'], { input: RAW }),
  };
  for (const [name, content] of Object.entries(packed)) {
    await writeFile(join(dir, name), content);
    const fromFile = await gp(words(`image import ${name}-file ${name}`), { cwd: dir });
    assert.equal(fromFile.code, 0, `${name}: ${fromFile.err}`);
    const stdin = new PassThrough();
    stdin.end(content);
    const fromStream = await gp(words(`image import ${name}-stream - --format raw`), { cwd: dir, stdin });
    assert.equal(fromStream.code, 0, `${name}: ${fromStream.err}`);
    for (const image of [`${name}-file`, `${name}-stream`])
      assert.deepEqual(backend.images.get(image).disk?.sha256, sha256(RAW), image);
  }
});

test('a packed file that is damaged, cut short, empty or a text is refused under the name that was given', async (t) => {
  const { gp, dir, backend } = await cluster(t);
  const whole = gzipSync(RAW);
  const files = {
    'cut.gz': whole.subarray(0, whole.length - 9),
    'cut.zst': zstdCompressSync(RAW).subarray(0, -3),
    'cut.xz': execFileSync('xz', ['--stdout'], { input: RAW }).subarray(0, -9),
    'bad.gz': Buffer.concat([whole.subarray(0, 20), Buffer.alloc(40, 1)]),
    'text.gz': gzipSync('words\n'),
    'twice.gz': gzipSync(whole),
  };
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(dir, name), content);
    const { code, err } = await gp(words(`image import bad ${name}`), { cwd: dir });
    assert.equal(code, 2, `${name}: ${err}`);
    assert.match(err, new RegExp(`^gp: ${name.replace('.', '\\.')} `), err);
  }
  const stdin = new PassThrough();
  stdin.end();
  const empty = await gp(words('image import bad -'), { cwd: dir, stdin });
  assert.deepEqual([empty.code, /^gp: standard input is empty/.test(empty.err)], [2, true], empty.err);
  assert.throws(() => backend.images.get('bad'), { code: 'not-found' });
});

test('--format is believed where the content does not contradict it, and refused with words where it does', async (t) => {
  const { gp, dir } = await cluster(t);
  await writeFile(join(dir, 'disk.qcow2'), RAW);
  assert.equal((await gp(words('image import named disk.qcow2 --format raw'), { cwd: dir })).code, 0);
  const raw = await gp(words('image import bad disk.qcow2 --format qcow2'), { cwd: dir });
  assert.deepEqual([raw.code, /is not a qcow2 image: its first bytes are others/.test(raw.err)], [2, true], raw.err);
  await writeFile(
    join(dir, 'disk.img'),
    Buffer.concat([Buffer.from('QFI\xfb\0\0\0\x03', 'latin1'), Buffer.alloc(MIB - 8)]),
  );
  const qcow2 = await gp(words('image import bad disk.img --format raw'), { cwd: dir });
  assert.deepEqual([qcow2.code, /is a qcow image, and the stated format is raw/.test(qcow2.err)], [2, true], qcow2.err);
});

test('a sparse file says how little it needs, and one that no pool has room for is refused before it is read', async (t) => {
  const { gp, dir, backend, uploads } = await cluster(t);
  const file = await open(join(dir, 'sparse.img'), 'wx');
  await file.write(Buffer.alloc(100_000, 1), 0, 100_000, 40 * MIB);
  await file.truncate(64 * MIB);
  await file.close();
  assert.equal((await gp(words('image import sparse sparse.img --format raw'), { cwd: dir })).code, 0);
  assert.deepEqual(
    uploads.map(({ sizeBytes, dataBytes }) => [sizeBytes, dataBytes]),
    [[64 * MIB, 128 * 1024]],
  );
  const listed = backend.storageNodes.list.bind(backend.storageNodes);
  backend.storageNodes.list = async (query, call) => {
    const page = await listed(query, call);
    return { ...page, items: page.items.map((node) => ({ ...node, usedBytes: (node.totalBytes ?? 0) - MIB })) };
  };
  await writeFile(join(dir, 'large.img'), RAW);
  const refused = await gp(words('image import large large.img --format raw'), { cwd: dir });
  assert.equal(refused.code, 5, refused.err);
  assert.match(
    refused.err,
    /No storage node has room for large\.img \(5 MiB\): s1 has 1 MiB free.*Nothing was read or sent/,
  );
  assert.equal(uploads.length, 1);
  assert.ok((await readFile(join(dir, 'large.img'))).equals(RAW));
});

test('an import from a stream that never ends is interrupted like any other', async (t) => {
  const { gp, dir } = await cluster(t);
  const stdin = new PassThrough();
  const gone = new AbortController();
  const asked = gp(words('image import endless - --format raw'), { cwd: dir, stdin, signal: gone.signal });
  stdin.write(RAW);
  gone.abort(new Error('Interrupted.'));
  assert.notEqual((await asked).code, 0);
});
