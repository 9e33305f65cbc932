/**
 * Disks of 64 TiB over iSCSI: as a sparse file, wherever a file system takes one that long (tmpfs does; ext4 ends at 16
 * TiB).
 */
import assert from 'node:assert/strict';
import { mkdtemp, open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { STANDALONE_TARGET, serveFile } from './serve.ts';
import { SocketInitiator } from './testing/socket-initiator.ts';

const SIZE_BYTES = 64 * 2 ** 40;
const MIB = 2 ** 20;
const READ_16 = '88';
const WRITE_16 = '8a';
const GOOD = 0;
const OUT_OF_RANGE = { status: 2, sense: '5/2100' };

/** A directory whose file system takes a file of 64 TiB; null if there is none. */
async function roomy(t: TestContext): Promise<string | null> {
  for (const parent of [tmpdir(), '/dev/shm']) {
    const path = await mkdtemp(join(parent, 'gp-large-')).catch(() => null);
    if (path === null) continue;
    t.after(() => rm(path, { recursive: true, force: true }));
    const file = await open(join(path, 'probe'), 'wx');
    const isTaken = await file.truncate(SIZE_BYTES).then(
      () => true,
      () => false,
    );
    await file.close();
    await rm(join(path, 'probe'));
    if (isTaken) return path;
  }
  return null;
}

const hex = (value: number, bytes: number): string => value.toString(16).padStart(bytes * 2, '0');

/** READ(16) or WRITE(16). */
const cdb16 = (opcode: string, lba: number, count: number): string => `${opcode}00${hex(lba, 8)}${hex(count, 4)}0000`;

for (const blockBytes of [512, 4096] as const) {
  test(`64 TiB in blocks of ${blockBytes} bytes: capacity, both ends, what is beyond 2^32 blocks and beyond the end`, async (t) => {
    const directory = await roomy(t);
    if (directory === null) {
      t.skip('no file system here takes a file of 64 TiB');
      return;
    }
    const file = join(directory, 'disk');
    const where = { file, host: '127.0.0.1', port: 0, onClosed: () => undefined };
    const serving = await serveFile({ ...where, sizeBytes: SIZE_BYTES, blockBytes });
    t.after(() => serving.close());
    const login = { port: serving.port, initiator: 'iqn.2026-11.test:vm1', target: STANDALONE_TARGET };
    const initiator = await SocketInitiator.open(login);
    assert.ok(typeof initiator !== 'number', 'logged in');
    t.after(() => initiator.close());
    await initiator.attentions(0);
    const last = SIZE_BYTES / blockBytes - 1;

    const capacity = await initiator.command(0, `9e10${hex(0, 8)}${hex(32, 4)}0000`);
    assert.equal(Number(capacity?.data.readBigUInt64BE(0)), last);
    assert.equal(capacity?.data.readUInt32BE(8), blockBytes);

    const block = (byte: number): Buffer => Buffer.alloc(blockBytes, byte);
    const write = (lba: number, out: Buffer) =>
      initiator.command(0, cdb16(WRITE_16, lba, out.length / blockBytes), out);
    const read = async (lba: number): Promise<Buffer | undefined> =>
      (await initiator.command(0, cdb16(READ_16, lba, 1)))?.data;
    // A block number cut to 32 bits would hit the first ones.
    const places = [0, 1, 2 ** 32, 2 ** 32 + 1, last - 1, last];
    for (const [index, lba] of places.entries()) assert.equal((await write(lba, block(index + 1)))?.status, GOOD);
    for (const [index, lba] of places.entries()) assert.deepEqual(await read(lba), block(index + 1), `block ${lba}`);

    const refused = [
      await initiator.command(0, cdb16(READ_16, last + 1, 1)),
      await initiator.command(0, cdb16(READ_16, last, 2)),
      await write(last + 1, block(9)),
      await write(last, Buffer.concat([block(9), block(9)])),
    ];
    for (const one of refused) assert.deepEqual({ status: one?.status, sense: one?.sense }, OUT_OF_RANGE);
    assert.deepEqual(await read(last), block(places.length), 'nothing of what was refused is written');

    await mapped(initiator, last);
    await unmapped(initiator, { last, blockBytes });
    assert.ok((await stat(file)).blocks * 512 < 4 * MIB, 'the file is sparse');
  });
}

/** GET LBA STATUS of the last block, and of the one after it. */
async function mapped(initiator: SocketInitiator, last: number): Promise<void> {
  const status = await initiator.command(0, `9e12${hex(last, 8)}${hex(24, 4)}0000`);
  assert.equal(Number(status?.data.readBigUInt64BE(8)), last);
  assert.deepEqual([status?.data.readUInt32BE(16), (status?.data[20] ?? 0xff) & 0x0f], [1, 0], 'one block, mapped');
  const beyond = await initiator.command(0, `9e12${hex(last + 1, 8)}${hex(24, 4)}0000`);
  assert.deepEqual({ status: beyond?.status, sense: beyond?.sense }, OUT_OF_RANGE);
}

/** UNMAP of the last 2 MiB, and of one block more than there is. */
async function unmapped(
  initiator: SocketInitiator,
  { last, blockBytes }: { last: number; blockBytes: number },
): Promise<void> {
  const count = (2 * MIB) / blockBytes;
  const unmap = (lba: number) => {
    const list = Buffer.alloc(24);
    list.writeUInt16BE(22, 0);
    list.writeUInt16BE(16, 2);
    list.writeBigUInt64BE(BigInt(lba), 8);
    list.writeUInt32BE(count, 16);
    return initiator.command(0, '4200000000000000 1800', list);
  };
  const beyond = await unmap(last - count + 2);
  assert.deepEqual({ status: beyond?.status, sense: beyond?.sense }, OUT_OF_RANGE);
  assert.equal((await unmap(last - count + 1))?.status, GOOD);
  const found = await initiator.command(0, cdb16(READ_16, last, 1));
  assert.deepEqual(found?.data, Buffer.alloc(blockBytes), 'zeroes');
}
