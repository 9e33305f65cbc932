import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { parseDiskId, parseSha256, parseVmId } from '../base/ids.ts';
import { run } from '../os/child-process.ts';
import { Pool } from './pool.ts';

const VM = parseVmId('vm-0123456789ab');
const DISK = parseDiskId('disk-0123456789ab');
const noCapacity = (error: unknown) => error instanceof CodedError && error.code === 'no-capacity';
let directory: string;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gp-pool-'));
});
after(() => rm(directory, { recursive: true, force: true }));

const openPool = (name: string, reserveBytes = 0) =>
  Pool.open({
    directory: join(directory, name),
    reserveBytes,
    nvramTemplate: join(directory, 'vars.fd'),
    sharedFaults: async () => [],
  });
const blank = { vm: VM, sizeBytes: 1 << 20, source: { kind: 'blank' } } as const;

test('nothing is created that would eat into the reserve', async () => {
  const pool = await openPool('reserve', Number.MAX_SAFE_INTEGER);
  await assert.rejects(pool.createDisk(DISK, blank), noCapacity);
  assert.deepEqual(await pool.listDisks(), []);
});

test('a file system that runs full in the middle of a creation: refused, nothing left', {
  skip: process.getuid?.() !== 0,
}, async () => {
  const mountPoint = join(directory, 'small');
  await run(['mkdir', mountPoint], { deadlineMs: 5_000 });
  await run(['mount', '-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', mountPoint], { deadlineMs: 5_000 });
  try {
    const pool = await openPool('small');
    // The space is looked at first; what is below the bound may still not fit.
    await writeFile(join(mountPoint, 'ballast'), Buffer.alloc(300 * 1024));
    await writeFile(join(directory, 'vars.fd'), Buffer.alloc(528 * 1024, 1));
    await assert.rejects(pool.createDisk(DISK, { ...blank, source: { kind: 'nvram' } }), noCapacity);
    assert.deepEqual([await pool.listDisks(), await readdir(join(mountPoint, 'tmp'))], [[], []]);
  } finally {
    await run(['umount', mountPoint], { deadlineMs: 5_000 });
  }
});

test('creation is idempotent, a different disk under the same id is refused, and leftovers go at the next start', async () => {
  const pool = await openPool('pool');
  await pool.createDisk(DISK, blank);
  await pool.createDisk(DISK, blank);
  const conflict = (error: unknown) => error instanceof CodedError && error.code === 'conflict';
  await assert.rejects(pool.createDisk(DISK, { ...blank, vm: parseVmId('vm-000000000001') }), conflict);
  await assert.rejects(pool.createDisk(DISK, { ...blank, source: { kind: 'nvram' } }), conflict);
  await writeFile(join(directory, 'pool', 'tmp', 'left'), 'x');
  const again = await openPool('pool');
  assert.deepEqual(await readdir(join(directory, 'pool', 'tmp')), []);
  assert.deepEqual(await again.listDisks(), [DISK]);
  await again.growDisk(DISK, { format: 'qcow2', sizeBytes: 2 << 20 });
  assert.equal(await again.diskSizeBytes(DISK, 'qcow2'), 2 << 20);
  await again.deleteDisk(DISK);
  await again.deleteDisk(DISK);
  assert.equal(await again.readMeta(DISK), undefined);
});

test('an image grows as the user of its daemon, and nothing that it names is opened', {
  skip: process.getuid?.() !== 0,
}, async () => {
  const pool = await openPool('grown');
  for (const path of [directory, join(directory, 'grown')]) await chmod(path, 0o711);
  const grown = { format: 'qcow2', sizeBytes: 2 << 20 } as const;
  const victim = join(directory, 'victim');
  const image = async (options: readonly string[]): Promise<void> => {
    await pool.deleteDisk(DISK);
    await pool.createDisk(DISK, blank);
    const file = pool.diskPath(DISK, 'qcow2');
    await writeFile(victim, Buffer.alloc(1 << 20, 7));
    await rm(file);
    await run(['qemu-img', 'create', '-q', '-f', 'qcow2', ...options, file, '1M'], { deadlineMs: 10_000 });
    await chmod(victim, 0o600);
    await pool.giveDisk(DISK, 'qcow2', { uid: 700_123 });
  };
  // Content that a compromised daemon could write into its image.
  await image(['-u', '-b', '/nowhere', '-F', 'raw']);
  await pool.growDisk(DISK, grown);
  assert.equal(await pool.diskSizeBytes(DISK, 'qcow2'), grown.sizeBytes);
  assert.equal((await stat(pool.diskPath(DISK, 'qcow2'))).uid, 700_123);
  await image(['-o', `data_file=${victim},data_file_raw=on`]);
  await assert.rejects(pool.growDisk(DISK, grown), { code: 'failed', message: /Permission denied/ });
  assert.equal((await stat(victim)).size, 1 << 20);
  await rm(pool.diskPath(DISK, 'qcow2'));
  await symlink(victim, pool.diskPath(DISK, 'qcow2'));
  await assert.rejects(pool.growDisk(DISK, grown), { code: 'failed', message: /symbolic link/ });
  await assert.rejects(pool.giveDisk(DISK, 'qcow2', { uid: 700_123 }), { code: 'failed', message: /symbolic link/ });
  assert.equal((await stat(victim)).uid, 0);
});

test('nvram is a copy of the template, of whole sectors', async () => {
  const pool = await openPool('nvram');
  await writeFile(join(directory, 'vars.fd'), Buffer.alloc(1000, 7));
  await pool.createDisk(DISK, { ...blank, source: { kind: 'nvram' } });
  assert.equal(await pool.diskSizeBytes(DISK, 'raw'), 1024);
});

test('a seed is stored for the service alone, copied into its disk, and not needed after that', async () => {
  const pool = await openPool('seeds');
  const content = Buffer.alloc(1000, 9);
  const sha256 = parseSha256(createHash('sha256').update(content).digest('hex'));
  const source = { kind: 'content', artifact: sha256 } as const;
  await assert.rejects(pool.createDisk(DISK, { ...blank, source }), { code: 'not-found' });
  await pool.receiveArtifact(sha256, { kind: 'seed', stream: Readable.from([content]), sizeBytes: content.length });
  assert.equal((await stat(pool.artifactPath(sha256))).mode & 0o777, 0o400);
  await assert.rejects(pool.openArtifact(sha256), { code: 'not-found' }, 'hosts have no use for it');
  await pool.createDisk(DISK, { ...blank, source });
  await pool.createDisk(DISK, { ...blank, source });
  assert.equal(await pool.diskSizeBytes(DISK, 'raw'), 1024);
  await pool.deleteArtifact(sha256);
  await pool.createDisk(DISK, { ...blank, source });
  assert.deepEqual((await readFile(pool.diskPath(DISK, 'raw'))).subarray(0, 1000), content);
});
