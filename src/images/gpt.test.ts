import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { linkGrub, makeGpt, PARTITION_TYPES } from './gpt.ts';

const id = '01234567-89ab-cdef-0123-456789abcdef';
const partition = { type: PARTITION_TYPES.efiSystem, id, name: 'esp', firstSector: 2048, sectors: 4096 };

test('header, entries and backup agree', () => {
  const diskSectors = 20_480;
  const { primary, backup } = makeGpt({ diskId: id, diskSectors, partitions: [partition] });
  assert.equal(primary.length, 34 * 512);
  assert.equal(backup.length, 33 * 512);
  assert.equal(primary.readUInt16LE(510), 0xaa55);
  assert.equal(primary[450], 0xee);
  const first = primary.subarray(512, 1024);
  const second = backup.subarray(32 * 512);
  for (const [header, own, other, entriesAt] of [
    [first, 1, diskSectors - 1, 2],
    [second, diskSectors - 1, 1, diskSectors - 33],
  ] as const) {
    assert.equal(header.toString('latin1', 0, 8), 'EFI PART');
    assert.deepEqual(
      [header.readBigUInt64LE(24), header.readBigUInt64LE(32), header.readBigUInt64LE(72)],
      [own, other, entriesAt].map(BigInt),
    );
    const zeroed = Buffer.from(header.subarray(0, 92));
    zeroed.writeUInt32LE(0, 16);
    assert.equal(header.readUInt32LE(16), crc32(zeroed));
    assert.equal(header.readUInt32LE(88), crc32(primary.subarray(1024)));
  }
  assert.deepEqual(primary.subarray(1024), backup.subarray(0, 32 * 512));
  const entry = primary.subarray(1024, 1152);
  assert.equal(
    entry.toString('hex', 0, 16),
    '28732ac11ff8d211ba4b00a0c93ec93b',
    'the EFI system partition type as every disk holds it',
  );
  assert.deepEqual([entry.readBigUInt64LE(32), entry.readBigUInt64LE(40)], [2048n, 6143n]);
  assert.equal(entry.toString('utf16le', 56, 62), 'esp');
});

test('partitions that overlap or do not fit are a bug', () => {
  const make =
    (...partitions: (typeof partition)[]) =>
    () =>
      makeGpt({ diskId: id, diskSectors: 20_480, partitions });
  assert.throws(make(partition, partition), /fits/);
  assert.throws(make({ ...partition, sectors: 20_000 }), /fits/);
  assert.throws(make({ ...partition, firstSector: 33 }), /fits/);
});

test("GRUB's parts learn where they are", () => {
  const { code, core } = linkGrub({
    bootImage: Buffer.alloc(512, 1),
    coreImage: Buffer.alloc(1300, 2),
    coreFirstSector: 2048,
  });
  assert.equal(code.length, 440);
  assert.equal(code.readBigUInt64LE(0x5c), 2048n);
  assert.equal(core.length, 3 * 512);
  assert.equal(core.readBigUInt64LE(0x1f4), 2049n);
  assert.equal(core.readUInt16LE(0x1fc), 2);
});
