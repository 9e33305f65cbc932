import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { DiskId } from '../base/ids.ts';
import { run } from '../os/child-process.ts';
import { Pool } from './pool.ts';
import { demandFile, FAULTS_MAX, faultsIn, fileSizeBytes, idsIn, readEntryJson } from './pool-entries.ts';
import { SharedPool } from './shared-pool.ts';

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gp-entries-'));
});
after(() => rm(directory, { recursive: true, force: true }));

/** A directory with an entry of every kind that can lie about, each named after what it is. */
async function everything(
  name: string,
): Promise<{ readonly at: (entry: string) => string; readonly end: () => Promise<void> }> {
  const at = (entry: string): string => join(directory, name, entry);
  await mkdir(join(directory, name));
  await writeFile(at('file'), '{"a":1}');
  await writeFile(at('empty'), '');
  await writeFile(at('huge'), Buffer.alloc(70 * 1024, 0x20));
  await writeFile(at('nonsense'), '{');
  await mkdir(at('directory'));
  await symlink('file', at('link'));
  await symlink('nowhere', at('dangling'));
  await symlink('loop', at('loop'));
  await run(['mkfifo', at('fifo')], { deadlineMs: 5_000 });
  const socket = createServer().listen(at('socket'));
  await new Promise((resolve) => socket.once('listening', resolve));
  return { at, end: () => new Promise((resolve) => socket.close(() => resolve())) };
}

test('only a regular file is read or measured, nothing waits and no link is followed', async () => {
  const { at, end } = await everything('kinds');
  try {
    assert.deepEqual(await readEntryJson(at('file')), { a: 1 });
    assert.equal(await fileSizeBytes(at('file')), 7);
    assert.equal(await demandFile(at('file')), 7);
    assert.equal(await readEntryJson(at('absent')), undefined);
    assert.equal(await fileSizeBytes(at('absent')), undefined);
    assert.equal(await readEntryJson(at('file/below')), undefined);
    // A file that somebody makes longer while it is read: the kernel says that this one has no bytes.
    await assert.rejects(readEntryJson('/proc/kallsyms'), { code: 'failed', message: /has more than 65536 bytes/ });
    for (const entry of ['empty', 'huge', 'nonsense', 'directory', 'link', 'dangling', 'loop', 'fifo', 'socket'])
      await assert.rejects(readEntryJson(at(entry)), { code: 'failed' }, entry);
    for (const entry of ['empty', 'directory', 'link', 'dangling', 'fifo', 'socket', 'absent'])
      await assert.rejects(demandFile(at(entry)), { code: 'failed' }, entry);
  } finally {
    await end();
  }
});

test('of a directory the right entries are listed, and each other one is told of, up to a bound', async () => {
  const { at, end } = await everything('list');
  try {
    const [good, bad] = ['disk-000000000001', 'disk-000000000002'];
    await mkdir(at(good));
    await mkdir(at(bad));
    await writeFile(at('disk-000000000003'), 'a file');
    await symlink(good, at('disk-000000000004'));
    assert.deepEqual(await idsIn<DiskId>(at('.'), 'disk'), [good, bad]);
    const look = async (disk: DiskId): Promise<void> => {
      if (disk === bad) throw new Error(`${bad} is broken`);
    };
    const faults = await faultsIn<DiskId>(at('.'), 'disk', look);
    assert.deepEqual(
      faults.filter(({ disk }) => disk !== null),
      [{ disk: bad, message: `${bad} is broken` }],
    );
    for (const entry of ['file', 'fifo', 'socket', 'loop', 'disk-000000000003', 'disk-000000000004'])
      assert.ok(
        faults.some(({ message }) => message.includes(at(entry))),
        entry,
      );
    for (let n = 0; n < 2 * FAULTS_MAX; n++) await writeFile(at(`stray-${n}`), '');
    assert.equal((await faultsIn<DiskId>(at('.'), 'disk', look)).length, FAULTS_MAX);
  } finally {
    await end();
  }
});

test('a pool with broken entries opens, and names each of them', async () => {
  const at = (...names: string[]): string => join(directory, 'pool', ...names);
  const sharedPool = async (): Promise<SharedPool> => SharedPool.open(at());
  await mkdir(at());
  const shared = await sharedPool();
  const open = () =>
    Pool.open({ directory: at(), reserveBytes: 0, nvramTemplate: '/none', sharedFaults: () => shared.faults() });
  await open();
  await mkdir(at('disks', 'disk-000000000001'));
  await mkdir(at('disks', 'disk-000000000002'));
  await writeFile(at('disks', 'disk-000000000002', 'disk.json'), '{}');
  await mkdir(at('shared', 'disk-000000000003'));
  await writeFile(at('shared', 'disk-000000000003', 'disk.json'), '');
  await symlink('/etc/passwd', at('artifacts', '0'.repeat(64)));
  await writeFile(at('artifacts', '1'.repeat(64)), '');
  await rm(at('tmp'), { recursive: true });
  await writeFile(at('tmp'), 'a file where a directory was');
  const pool = await open();
  const told = (await pool.look()).map(({ message }) => message).join('\n');
  for (const id of ['disk-000000000001', 'disk-000000000002', 'disk-000000000003', '0'.repeat(64), '1'.repeat(64)])
    assert.ok(told.includes(id), `${id} in ${told}`);
  assert.deepEqual(pool.faults().length, 5);
  assert.deepEqual(await pool.listArtifacts(), ['1'.repeat(64)]);
  assert.deepEqual(await shared.list(), []);
  await shared.giveAll({ uid: process.getuid?.() ?? 0 });
});
