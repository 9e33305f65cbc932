import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parseDiskId, parseGeneration, parseVmId, type VmId } from '../base/ids.ts';
import { accountName, initiatorName, targetName } from '../core/model/shared-disk-identity.ts';
import { CacheKeeper } from '../core/scsi/cache-keeper.ts';
import { openLogicalUnit } from '../core/scsi/logical-unit.ts';
import { MemoryReservations } from '../core/scsi/testing/memory-unit.ts';
import { systemClock } from '../os/clock.ts';
import { CACHED_WRITES_FILE, CachedWritesFile } from './cached-writes-file.ts';
import { FileStore } from './file-store.ts';
import { SharedTarget } from './shared-target.ts';
import { SocketInitiator } from './testing/socket-initiator.ts';

const A = parseVmId('vm-00000000000a');
const B = parseVmId('vm-00000000000b');
const DISK = parseDiskId('disk-000000000001');
const SIZE = 1024 ** 2;
/** SYNCHRONIZE CACHE(10) and (16), and the stop of START STOP UNIT, which writes the cache. */
const FLUSHES = [
  '35 00 00 00 00 00 00 00 00 00',
  '91 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00',
  '1b 00 00 00 00 00',
];
const START = '1b 00 00 00 01 00';
const WRITE_FUA = '2a 08 00 00 00 00 00 00 01 00';
const LOST = '3/1400';

/** A storage node with one disk in a directory, whose target and whose power can go. */
class Node {
  readonly directory: string;
  readonly warnings: string[] = [];
  readonly #t: TestContext;
  #boot = 0;
  #target: SharedTarget | null = null;
  #vms: [VmId, number[], number][] = [];

  private constructor(t: TestContext, directory: string) {
    this.#t = t;
    this.directory = directory;
  }

  static async start(t: TestContext, ...vms: [VmId, number[], number][]): Promise<Node> {
    const node = new Node(t, await mkdtemp(join(tmpdir(), 'gp-lost-')));
    t.after(async () => {
      await node.end();
      await rm(node.directory, { recursive: true });
    });
    await node.restart();
    await node.admit(...vms);
    return node;
  }

  /** For each VM the admitted generations and the lowest one that is not fenced. */
  async admit(...vms: [VmId, number[], number][]): Promise<void> {
    this.#vms = vms;
    const target = this.#target;
    assert.ok(target !== null);
    await target.apply({
      units: [{ disk: DISK, sizeBytes: SIZE, blockBytes: 512 }],
      vms: vms.map(([vm, generations, floor]) => ({
        vm,
        generations: generations.map(parseGeneration),
        luns: [{ disk: DISK, lun: 0 }],
        floor,
      })),
    });
    for (const [vm] of vms) await target.ready(vm, 2_000);
  }

  async session(vm: VmId, generation: number): Promise<SocketInitiator> {
    const name = accountName(vm, parseGeneration(generation));
    const session = await SocketInitiator.open({
      port: this.#target?.port ?? 0,
      initiator: initiatorName(vm),
      target: targetName(vm),
      account: { name, secret: name },
    });
    assert.ok(typeof session !== 'number', 'log-in refused');
    this.#t.after(() => session.close());
    await session.attentions(0);
    return session;
  }

  /** The target ends and is restarted, in the same boot: the page cache stays. */
  async restart(): Promise<void> {
    await this.end();
    this.#target = await SharedTarget.listen({
      host: '127.0.0.1',
      port: 0,
      clock: systemClock,
      log: { info: () => undefined, warn: (message) => void this.warnings.push(message) },
      secretOf: (account) => account,
      open: ({ sizeBytes, blockBytes }) => this.#open(sizeBytes, blockBytes),
    });
    if (this.#vms.length > 0) await this.admit(...this.#vms);
  }

  /** The same target in another boot. `vms`: the generations that are admitted from then on, if they change. */
  async losePower(...vms: [VmId, number[], number][]): Promise<void> {
    this.#boot += 1;
    if (vms.length > 0) this.#vms = vms;
    await this.restart();
  }

  async end(): Promise<void> {
    await this.#target?.close();
    this.#target = null;
  }

  async #open(sizeBytes: number, blockBytes: 512 | 4096) {
    const { directory } = this;
    const backing = await FileStore.open({ path: join(directory, 'disk.raw'), sizeBytes, blockBytes });
    const log = { info: () => undefined, warn: (message: string) => void this.warnings.push(message) };
    const cached = await CacheKeeper.open(new CachedWritesFile(directory, { disk: DISK, log }), `boot ${this.#boot}`);
    const identity = { uuid: '00112233-4455-4677-8899-aabbccddeeff', targetName: 'iqn.2026-11.test:disks' };
    const unit = await openLogicalUnit({ identity, backing, reservations: new MemoryReservations(), cached });
    return { unit, grow: (bytes: number) => backing.grow(bytes), close: () => backing.close() };
  }
}

async function flush(session: SocketInitiator, cdb = FLUSHES[0] ?? ''): Promise<string> {
  const end = await session.command(0, cdb);
  assert.ok(end !== null, 'the connection ended');
  return end.status === 0 ? 'good' : end.sense;
}

async function write(session: SocketInitiator): Promise<void> {
  assert.equal((await session.write(0, { lba: 8, byte: 1 }))?.status, 0);
}

test('S16: after a loss of power the first flush of who had written fails, once; the next succeeds', async (t) => {
  for (const cdb of FLUSHES) {
    const node = await Node.start(t, [A, [1], 1], [B, [1], 1]);
    await write(await node.session(A, 1));
    await node.losePower();
    const [a, b] = [await node.session(A, 1), await node.session(B, 1)];
    assert.equal(await flush(b, cdb), 'good', 'B had written nothing');
    await write(a);
    assert.equal((await a.command(0, WRITE_FUA, Buffer.alloc(512, 2)))?.status, 0, 'FUA is carried out now');
    assert.equal(await flush(a, START), 'good', 'no flush');
    assert.equal(await flush(a, cdb), LOST);
    assert.equal(await flush(a, cdb), 'good');
    // A reported loss is not reported again, and later writes belong to this boot.
    await node.restart();
    assert.equal(await flush(await node.session(A, 1), cdb), 'good');
    await node.losePower();
    assert.equal(await flush(await node.session(A, 1), cdb), LOST);
  }
});

test('S16: the end of the target alone loses nothing: no flush fails', async (t) => {
  const node = await Node.start(t, [A, [1], 1]);
  await write(await node.session(A, 1));
  await node.restart();
  const a = await node.session(A, 1);
  assert.equal(await flush(a), 'good');
});

test('S16: power that is lost twice before the guest flushes is one failed flush', async (t) => {
  const node = await Node.start(t, [A, [1], 1]);
  await write(await node.session(A, 1));
  await node.losePower();
  await node.losePower();
  const a = await node.session(A, 1);
  assert.deepEqual([await flush(a), await flush(a)], [LOST, 'good']);
});

test('S16: who wrote with FUA only has lost nothing', async (t) => {
  const node = await Node.start(t, [A, [1], 1]);
  const a = await node.session(A, 1);
  assert.equal((await a.command(0, WRITE_FUA, Buffer.alloc(512, 2)))?.status, 0);
  await node.losePower();
  assert.equal(await flush(await node.session(A, 1)), 'good');
});

test("S16: a live migration's destination believes what its source wrote: its flush fails", async (t) => {
  const node = await Node.start(t, [A, [1], 1]);
  await write(await node.session(A, 1));
  await node.admit([A, [1, 2], 1]);
  await node.admit([A, [2], 2]);
  await node.losePower();
  assert.equal(await flush(await node.session(A, 2)), LOST);
  // Power is lost between the last write and the migration.
  await write(await node.session(A, 2));
  await node.losePower();
  await node.admit([A, [2, 3], 2]);
  assert.equal(await flush(await node.session(A, 3)), LOST, 'a session that does not run the guest');
  await node.admit([A, [3], 3]);
  assert.equal(await flush(await node.session(A, 3)), LOST, 'the guest was not told yet');
  assert.equal(await flush(await node.session(A, 3)), 'good');
});

test('S16: a generation that was started anew has forgotten its writes: its flush succeeds', async (t) => {
  const node = await Node.start(t, [A, [1], 1]);
  await write(await node.session(A, 1));
  await node.losePower([A, [2], 2]);
  const a = await node.session(A, 2);
  assert.equal(await flush(a), 'good');
  await write(a);
  await node.losePower();
  assert.equal(await flush(await node.session(A, 2)), LOST);
});

test('S16: a broken record keeps no disk from being served, and every VM may have lost writes', async (t) => {
  const node = await Node.start(t, [A, [1], 1]);
  const a = await node.session(A, 1);
  await write(a);
  const path = join(node.directory, CACHED_WRITES_FILE);
  assert.match(await readFile(path, 'utf8'), /"generations":\[1\],"bootId":"boot 0"/);
  await node.end();
  await writeFile(path, '{');
  await node.restart();
  assert.ok(node.warnings.some((each) => each.includes('cannot be read')));
  const again = await node.session(A, 1);
  assert.deepEqual([await flush(again), await flush(again)], [LOST, 'good']);
});
