import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, open, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { makeSeedIso } from '../wire/iso9660/seed-iso.ts';
import { inspectImage } from './inspect.ts';

const MIB = 1024 * 1024;
let dir = '';
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'gp-inspect-'));
});
after(() => rm(dir, { recursive: true, force: true }));

function qemuImg(...args: string[]): void {
  execFileSync('qemu-img', args, { stdio: 'ignore', cwd: dir });
}

/** A qcow2 of 64 MiB with 4 MiB of data. */
function goodQcow2(name: string): string {
  const path = join(dir, name);
  qemuImg('create', '-f', 'qcow2', path, '64M');
  execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 7 0 4M', path], { stdio: 'ignore' });
  return path;
}

async function patch(path: string, at: number, bytes: Uint8Array): Promise<void> {
  await using file = await open(path, 'r+');
  await file.write(bytes, 0, bytes.length, at);
}

async function refused(path: string, reason: RegExp, options = {}): Promise<void> {
  await assert.rejects(inspectImage(path, options), (error: unknown) => {
    assert.ok(error instanceof CodedError, String(error));
    assert.equal(error.code, 'bad-image');
    assert.match(error.message, reason);
    assert.match(error.advice ?? '', /Nothing was imported/);
    return true;
  });
}

describe('inspectImage accepts', () => {
  test('qcow2, whatever its name', async () => {
    const path = goodQcow2('good, with: comma.img');
    assert.deepEqual(await inspectImage(path), { format: 'qcow2', virtualSizeBytes: 64 * MIB });
    assert.deepEqual(await inspectImage(path, { format: 'qcow2' }), { format: 'qcow2', virtualSizeBytes: 64 * MIB });
  });

  test('qcow2 of version 2', async () => {
    qemuImg('create', '-f', 'qcow2', '-o', 'compat=0.10', 'old.qcow2', '1M');
    assert.equal((await inspectImage(join(dir, 'old.qcow2'))).virtualSizeBytes, MIB);
  });

  test('raw: zeros, and anything the caller calls raw', async () => {
    const path = join(dir, 'zeros.raw');
    await writeFile(path, '');
    await truncate(path, 3 * MIB);
    assert.deepEqual(await inspectImage(path), { format: 'raw', virtualSizeBytes: 3 * MIB });
  });
});

describe('inspectImage refuses', () => {
  test('what is another format than it is said to be', async () => {
    const dressedUp = goodQcow2('dressed-up.raw');
    await refused(dressedUp, /is a qcow image, and the stated format is raw/, { format: 'raw' });
    const zeros = join(dir, 'zeros.qcow2');
    await writeFile(zeros, Buffer.alloc(MIB));
    await refused(zeros, /is not a qcow2 image/, { format: 'qcow2' });
  });

  test('a truncated qcow2, at any of its parts', async () => {
    for (const sizeBytes of [4, 60, 100, 600, 70_000, 300_000, 3 * MIB]) {
      const path = goodQcow2(`cut-${sizeBytes}.qcow2`);
      await truncate(path, sizeBytes);
      await refused(path, /qcow2 image|could not be checked/);
    }
  });

  test('corrupt reference counts and tables', async () => {
    const refcounts = goodQcow2('refcounts.qcow2');
    // The second cluster is the reference count table, the third its first block.
    await patch(refcounts, 2 * 65536, new Uint8Array(256));
    await refused(refcounts, /corruptions/);
    const table = goodQcow2('table.qcow2');
    await patch(table, 65536, new Uint8Array(8).fill(0xff));
    await refused(table, /damaged|corrupt|checked/);
  });

  test('a text, an empty file, a directory, an odd size, a device, a missing file', async () => {
    const text = join(dir, 'text.img');
    await writeFile(text, 'I am not a disk.\n'.repeat(512));
    await refused(text, /is a text/);
    const empty = join(dir, 'empty.img');
    await writeFile(empty, '');
    await refused(empty, /is empty/);
    await refused(empty, /is empty/, { format: 'raw' });
    await mkdir(join(dir, 'folder'));
    await refused(join(dir, 'folder'), /directory/);
    const odd = join(dir, 'odd.img');
    await writeFile(odd, new Uint8Array(1000));
    await refused(odd, /512-byte sectors/);
    await refused('/dev/zero', /not an ordinary file/);
    execFileSync('mkfifo', [join(dir, 'fifo')]);
    await refused(join(dir, 'fifo'), /not an ordinary file/);
    await assert.rejects(inspectImage(join(dir, 'none')), { code: 'not-found' });
  });

  test('an ISO, unless it is called raw', async () => {
    const path = join(dir, 'seed.iso');
    await writeFile(path, makeSeedIso({ volumeLabel: 'CIDATA', files: [{ name: 'user-data', content: 'x' }] }));
    await refused(path, /CD or DVD/);
    assert.equal((await inspectImage(path, { format: 'raw' })).format, 'raw');
  });

  test('a backing file, an external data file', async () => {
    const secret = join(dir, 'secret.raw');
    await writeFile(secret, new Uint8Array(MIB));
    qemuImg('create', '-f', 'qcow2', '-b', secret, '-F', 'raw', 'thief.qcow2');
    await refused(join(dir, 'thief.qcow2'), /backing file/);
    qemuImg('create', '-f', 'qcow2', '-o', `data_file=${secret},data_file_raw=on`, 'outside.qcow2', '1M');
    await refused(join(dir, 'outside.qcow2'), /another file/);
    // A backing file named in the header with a length of 0 at first sight, or an offset alone.
    const sly = goodQcow2('sly.qcow2');
    await patch(sly, 8, Uint8Array.of(0, 0, 0, 0, 0, 0, 2, 0));
    await refused(sly, /backing file/);
  });

  test('other formats and archives', async () => {
    for (const format of ['vmdk', 'vhdx', 'vdi', 'vpc', 'qed', 'parallels']) {
      qemuImg('create', '-f', format, `other.${format}`, '64M');
      await refused(join(dir, `other.${format}`), /is an? .* not a raw disk|512-byte/);
    }
    const packed = join(dir, 'packed.gz');
    await writeFile(packed, Buffer.concat([Buffer.from([0x1f, 0x8b]), Buffer.alloc(1022)]));
    await refused(packed, /gzip/);
    await refused(packed, /first bytes/, { format: 'qcow2' });
  });

  test('sizes that nothing could hold', async () => {
    const path = goodQcow2('huge.qcow2');
    await patch(path, 24, Uint8Array.of(0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0));
    await refused(path, /damaged|at most 70368744177664/);
    qemuImg('create', '-f', 'qcow2', '-o', 'cluster_size=2M', 'large.qcow2', '65T');
    await refused(join(dir, 'large.qcow2'), /at most 70368744177664/);
  });

  test('nothing, when the caller gives up', async () => {
    const path = goodQcow2('given-up.qcow2');
    await assert.rejects(inspectImage(path, { signal: AbortSignal.abort(new Error('enough')) }), /enough/);
  });
});
