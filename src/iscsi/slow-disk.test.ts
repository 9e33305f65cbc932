/**
 * A file larger than memory beside a file that is in memory, in one process: real server, real files, and a disk that
 * is slow where the file store asks the kernel. Nothing else can be made slow without special rights.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openLogicalUnit } from '../core/scsi/logical-unit.ts';
import { DeviceServer } from '../core/scsi/target.ts';
import { systemClock } from '../os/clock.ts';
import { FileStore } from './file-store.ts';
import { IscsiServer } from './server.ts';
import { TEST_TARGET } from './testing/initiator.ts';
import { SocketInitiator } from './testing/socket-initiator.ts';
import { openUnitFile } from './unit-file.ts';

const DISK_MS = 20;
const TEST_MS = 1_000;
const READERS = 8;
const READ_4K = '28000000000000000800';
/** The same values as in inline-io.ts. */
const PENALTY_MS_MIN = 20;
const PENALTY_MS_MAX = 2_000;

interface SlowDisk {
  /** Reads that held the thread of all sessions. */
  blocking: number;
  accesses: number;
}

/** From here on each read of the file at `path` takes as long as a disk would. */
function slowDisk(t: TestContext, path: string): SlowDisk {
  const disk: SlowDisk = { blocking: 0, accesses: 0 };
  const { ino } = fs.statSync(path);
  const isSlow = (fd: number): boolean => fs.fstatSync(fd).ino === ino;
  const { read, readSync } = fs;
  const usage = process.resourceUsage();
  t.mock.method(process, 'resourceUsage', () => ({ ...usage, fsRead: disk.accesses }));
  t.mock.method(fs, 'readSync', (...call: [number, Uint8Array, number, number, number]) => {
    if (isSlow(call[0])) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, DISK_MS);
      disk.accesses += 1;
      disk.blocking += 1;
    }
    return readSync(...call);
  });
  t.mock.method(fs, 'read', (...call: Parameters<typeof read<Uint8Array>>) => {
    disk.accesses += 1;
    setTimeout(() => read(...call), isSlow(call[0]) ? DISK_MS : 0);
  });
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  return disk;
}

/** Two disks, LUN 0 and 1 at one server. */
async function served(t: TestContext): Promise<{ port: number; paths: readonly string[] }> {
  const directory = await mkdtemp(join(tmpdir(), 'gp-slow-'));
  t.after(() => rm(directory, { recursive: true }));
  const paths = [join(directory, 'large'), join(directory, 'small')];
  const units = await Promise.all(
    paths.map(async (path, lun) => {
      const backing = await FileStore.open({ path, sizeBytes: 2 ** 20, blockBytes: 512 });
      t.after(() => backing.close());
      const { uuid, reservations } = await openUnitFile(path);
      const identity = { uuid, targetName: TEST_TARGET };
      return [lun, await openLogicalUnit({ identity, backing, reservations })] as const;
    }),
  );
  const target = new DeviceServer(new Map(units));
  const server = await IscsiServer.listen({
    host: '127.0.0.1',
    port: 0,
    targetsOf: () => [TEST_TARGET],
    targetNamed: () => target,
    clock: systemClock,
    policyFor: () => ({ kind: 'open' }),
    onClosed: () => undefined,
  });
  t.after(() => server.close());
  return { port: server.port, paths };
}

async function loggedIn(t: TestContext, port: number, name: string): Promise<SocketInitiator> {
  const initiator = await SocketInitiator.open({ port, initiator: `iqn.2026-11.test:${name}`, target: TEST_TARGET });
  assert.ok(typeof initiator !== 'number', 'logged in');
  t.after(() => initiator.close());
  return initiator;
}

/**
 * The most disk accesses that may hold the thread in this time: one, then one after each penalty, which doubles to its
 * maximum.
 */
function blockingMax(elapsedMs: number): number {
  let count = 1;
  let penaltyMs = PENALTY_MS_MIN;
  for (let atMs = penaltyMs; atMs <= elapsedMs; atMs += penaltyMs) {
    count += 1;
    penaltyMs = Math.min(PENALTY_MS_MAX, 2 * penaltyMs);
  }
  return count;
}

test('a file larger than memory holds up another VM by single disk accesses, ever more rarely', async (t) => {
  const { port, paths } = await served(t);
  const other = await loggedIn(t, port, 'vm2');
  await other.attentions(1);
  const readers: SocketInitiator[] = [];
  for (let count = 0; count < READERS; count++) readers.push(await loggedIn(t, port, 'vm1'));
  await readers[0]?.attentions(0);
  const disk = slowDisk(t, paths[0] ?? '');

  let isOver = false;
  let slowReads = 0;
  const startedMs = performance.now();
  const reading = readers.map(async (reader) => {
    while (!isOver) {
      assert.equal((await reader.command(0, READ_4K))?.status, 0);
      slowReads += 1;
    }
  });
  let quickReads = 0;
  while (performance.now() - startedMs < TEST_MS) {
    assert.equal((await other.command(1, READ_4K))?.status, 0);
    quickReads += 1;
  }
  isOver = true;
  await Promise.all(reading);
  const elapsedMs = performance.now() - startedMs;

  assert.ok(disk.blocking >= 2, 'the store tries again from time to time');
  assert.ok(disk.blocking <= blockingMax(elapsedMs), `${disk.blocking} held the thread in ${elapsedMs} ms`);
  assert.ok(slowReads > 4 * disk.blocking, `only ${slowReads} reads of the large file`);
  // If each of the readers' accesses blocked the thread, there would be one read of the other VM for all of theirs: a
  // count, independent of time.
  const sharePerReader = slowReads / READERS;
  assert.ok(quickReads > 2 * sharePerReader, `${quickReads} reads beside ${slowReads} of the large file`);
});
