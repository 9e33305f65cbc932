import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { FileStore } from './file-store.ts';
import { InlineIo } from './inline-io.ts';
import { openUnitFile } from './unit-file.ts';

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'gp-target-'));
  t.after(() => rm(path, { recursive: true }));
  return path;
}

const TIB = 2 ** 40;

test('a disk of 8 TiB is a sparse file; its last block can be written and read', async (t) => {
  const path = join(await directory(t), 'disk');
  const store = await FileStore.open({ path, sizeBytes: 8 * TIB, blockBytes: 4096 });
  const last = store.blockCount - 1;
  await store.write(last, new Uint8Array(4096).fill(5), { fua: true });
  assert.equal((await store.read(last, 1))[4095], 5);
  assert.equal((await store.read(last - 1, 1))[4095], 0);
  await store.close();
  assert.ok((await stat(path)).blocks < 100);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

test('zeroes and holes read as zeroes, and their neighbours stay', async (t) => {
  const path = join(await directory(t), 'disk');
  const store = await FileStore.open({ path, sizeBytes: 16 * 2 ** 20, blockBytes: 512 });
  await store.write(0, new Uint8Array(16 * 2 ** 20).fill(1), { fua: false });
  assert.deepEqual(await store.allocation(3), { blockCount: 32765, isMapped: true });
  const before = (await stat(path)).blocks;
  await store.unmap(2048, 8192);
  await store.unmap(1, 3);
  await store.writeZeroes(30_000, 100, { fua: true });
  const all = await store.read(0, 32768);
  const zero = (lba: number): boolean => all.subarray(lba * 512, lba * 512 + 512).every((byte) => byte === 0);
  const isZero = (lba: number): boolean =>
    (lba >= 2048 && lba < 10_240) || (lba >= 1 && lba < 4) || (lba >= 30_000 && lba < 30_100);
  for (let lba = 0; lba < 32768; lba++) assert.equal(zero(lba), isZero(lba), String(lba));
  await store.close();
  assert.ok((await stat(path)).blocks < before, 'a long range is given back');
});

test('a file of another size, a directory and an odd size are refused', async (t) => {
  const at = await directory(t);
  await writeFile(join(at, 'small'), 'x');
  const refused = (path: string, sizeBytes: number): Promise<void> =>
    assert.rejects(
      FileStore.open({ path, sizeBytes, blockBytes: 512 }),
      (error) => error instanceof CodedError && error.code === 'bad-input',
    );
  await refused(join(at, 'small'), 1024);
  await refused(at, 1024);
  await refused(join(at, 'new'), 1000);
  await refused(join(at, 'none', 'new'), 1024);
});

test('an identity stays, reservations are kept, and what is neither is refused', async (t) => {
  const path = join(await directory(t), 'disk');
  const first = await openUnitFile(path);
  assert.equal(await first.reservations.load(), null);
  await first.reservations.save({ generation: 3, registrations: [], reservation: null });
  const second = await openUnitFile(path);
  assert.equal(second.uuid, first.uuid);
  assert.deepEqual(await second.reservations.load(), { generation: 3, registrations: [], reservation: null });
  await writeFile(`${path}.unit.json`, '{"uuid":"x"}');
  await assert.rejects(openUnitFile(path), CodedError);
});

test('after a slow disk access nothing is done synchronously, for longer each time; a busy processor is no reason', () => {
  let nowMs = 0;
  let accesses = 0;
  const io = new InlineIo({ monotonicMs: () => nowMs, diskAccesses: () => accesses });
  const attempt = (costMs: number, disk: number): boolean =>
    io.attempt(() => {
      nowMs += costMs;
      accesses += disk;
    });
  assert.ok(attempt(5, 0));
  assert.ok(attempt(5, 1));
  assert.equal(attempt(0, 0), false);
  nowMs += 20;
  assert.ok(attempt(5, 1));
  nowMs += 20;
  assert.equal(attempt(0, 0), false);
  nowMs += 20;
  for (let quick = 0; quick < 5_000; quick++) assert.ok(attempt(0.01, 0));
  assert.ok(attempt(5, 1));
  nowMs += 20;
  assert.ok(attempt(0, 0), 'forgiven: it starts with 20 ms again');
});
