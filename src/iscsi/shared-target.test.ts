import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { type DiskId, parseDiskId, parseGeneration, parseVmId, type VmId } from '../base/ids.ts';
import { accountName, initiatorName, targetName } from '../core/model/shared-disk-identity.ts';
import type { TargetState, TargetUnit } from '../core/ports/target-backend.ts';
import { openLogicalUnit } from '../core/scsi/logical-unit.ts';
import { MemoryReservations, MemoryStore } from '../core/scsi/testing/memory-unit.ts';
import { systemClock } from '../os/clock.ts';
import { SharedTarget } from './shared-target.ts';
import { SocketInitiator } from './testing/socket-initiator.ts';

const A = parseVmId('vm-00000000000a');
const B = parseVmId('vm-00000000000b');
const QUORUM = parseDiskId('disk-000000000001');
const DATA = parseDiskId('disk-000000000002');
const MIB = 1024 ** 2;
const CONFLICT = 0x18;

const secretOf = (account: string): string => `the secret of ${account}`;

/** A target over memory, whose disks survive being closed. */
class Rig {
  readonly stores = new Map<DiskId, MemoryStore>();
  readonly reservations = new Map<DiskId, MemoryReservations>();
  readonly opened: string[] = [];
  /** Why no disk can be opened. */
  trouble: string | null = null;
  key = true;
  target!: SharedTarget;

  static async start(t: TestContext): Promise<Rig> {
    const rig = new Rig();
    rig.target = await SharedTarget.listen({
      host: '127.0.0.1',
      port: 0,
      clock: systemClock,
      log: { info: () => undefined, warn: () => undefined },
      secretOf: (account) => (rig.key ? secretOf(account) : null),
      open: (unit) => rig.#open(unit),
    });
    t.after(() => rig.target.close());
    return rig;
  }

  login(vm: VmId, generation: number, other: { target?: VmId; secret?: string; initiator?: VmId } = {}) {
    const name = accountName(vm, parseGeneration(generation));
    return SocketInitiator.open({
      port: this.target.port,
      initiator: initiatorName(other.initiator ?? vm),
      target: targetName(other.target ?? vm),
      account: { name, secret: other.secret ?? secretOf(name) },
    });
  }

  async session(t: TestContext, vm: VmId, generation: number): Promise<SocketInitiator> {
    const session = await this.login(vm, generation);
    assert.ok(typeof session !== 'number', 'log-in refused');
    t.after(() => session.close());
    return session;
  }

  async #open({ disk, sizeBytes, blockBytes }: TargetUnit) {
    this.opened.push(disk);
    if (this.trouble !== null) throw new CodedError('unavailable', this.trouble);
    const backing = this.stores.get(disk) ?? new MemoryStore(sizeBytes / blockBytes, blockBytes);
    const reservations = this.reservations.get(disk) ?? new MemoryReservations();
    this.stores.set(disk, backing);
    this.reservations.set(disk, reservations);
    const identity = { uuid: '00112233-4455-4677-8899-aabbccddeeff', targetName: 'iqn.2026-11.test:disks' };
    const unit = await openLogicalUnit({ identity, backing, reservations });
    const grow = async (bytes: number): Promise<void> => {
      backing.blockCount = bytes / blockBytes;
    };
    return { unit, grow, close: async () => undefined };
  }
}

/** A state: for each VM its generations, and its disks in the order of their numbers. */
function state(vms: readonly (readonly [VmId, readonly number[], readonly DiskId[]])[], sizeBytes = MIB): TargetState {
  const disks = new Set(vms.flatMap(([, , of]) => of));
  return {
    units: Array.from(disks, (disk) => ({ disk, sizeBytes, blockBytes: 512 })),
    vms: vms.map(([vm, generations, of]) => ({
      vm,
      generations: generations.map(parseGeneration),
      luns: of.map((disk, lun) => ({ disk, lun })),
    })),
  };
}

test('who is admitted logs in at the target of its own VM; nobody else does anywhere', async (t) => {
  const rig = await Rig.start(t);
  await rig.target.apply(
    state([
      [A, [3], [QUORUM]],
      [B, [1], [QUORUM]],
    ]),
  );
  await rig.target.ready(A, 1_000);
  await rig.target.ready(B, 1_000);
  const a = await rig.session(t, A, 3);
  assert.deepEqual(rig.target.sessions(), [{ vm: A, generation: 3, address: '127.0.0.1' }]);
  assert.deepEqual(await a.attentions(0), ['6/2900']);
  const refused: [string, number | SocketInitiator][] = [
    ['an older generation', await rig.login(A, 2)],
    ['a later generation', await rig.login(A, 4)],
    ['a wrong secret', await rig.login(A, 3, { secret: secretOf(accountName(A, parseGeneration(4))) })],
    ["another VM's account", await rig.login(B, 1, { initiator: A, target: A })],
    ["another VM's target", await rig.login(A, 3, { target: B })],
    ['no VM', await rig.login(parseVmId('vm-00000000000c'), 1)],
  ];
  for (const [what, met] of refused) assert.ok(typeof met === 'number' && met > 0, what);
});

test('two generations of one VM are one nexus: what one registered, the other holds', async (t) => {
  const rig = await Rig.start(t);
  await rig.target.apply(
    state([
      [A, [1, 2], [QUORUM]],
      [B, [1], [QUORUM]],
    ]),
  );
  await rig.target.ready(A, 1_000);
  await rig.target.ready(B, 1_000);
  const [source, destination, other] = [
    await rig.session(t, A, 1),
    await rig.session(t, A, 2),
    await rig.session(t, B, 1),
  ];
  for (const each of [source, other]) await each.attentions(0);
  assert.equal((await source.reserveOut(0, { action: 0, newKey: 0xa }))?.status, 0);
  assert.equal((await source.reserveOut(0, { action: 1, key: 0xa, type: 5 }))?.status, 0);
  assert.equal((await destination.write(0, { lba: 0, byte: 1 }))?.status, 0);
  assert.equal((await other.write(0, { lba: 0, byte: 2 }))?.status, CONFLICT);
  assert.equal((await destination.reserveOut(0, { action: 2, key: 0xa, type: 5 }))?.status, 0);
  assert.equal((await other.write(0, { lba: 0, byte: 2 }))?.status, 0);
  assert.deepEqual(await other.keys(0), [0xa]);
});

test('a fence is acknowledged when the last write of the fenced generation has ended, and its successor is not disturbed', async (t) => {
  const rig = await Rig.start(t);
  await rig.target.apply(state([[A, [1, 2], [QUORUM]]]));
  await rig.target.ready(A, 1_000);
  const [source, destination] = [await rig.session(t, A, 1), await rig.session(t, A, 2)];
  await source.attentions(0);
  await source.reserveOut(0, { action: 0, newKey: 0xa });
  const store = rig.stores.get(QUORUM);
  assert.ok(store !== undefined);
  store.hold();
  const underWay = source.write(0, { lba: 0, byte: 1 });
  while (store.heldCount === 0) await new Promise(setImmediate);
  let isFenced = false;
  const fencing = rig.target.apply(state([[A, [2], [QUORUM]]])).then(() => {
    isFenced = true;
  });
  await source.closed;
  assert.equal(await underWay, null);
  assert.equal(await rig.login(A, 1), 0x0201, 'fenced, though its last write has not ended');
  assert.equal(isFenced, false);
  store.release();
  await fencing;
  assert.deepEqual(store.log, ['write 0+1'], 'the write that was under way ended before the answer');
  assert.deepEqual(await destination.keys(0), [0xa]);
  assert.equal((await destination.write(0, { lba: 1, byte: 2 }))?.status, 0);
});

test('U2: while two generations are admitted, unit attentions wait for the older one, then for who is left', async (t) => {
  const rig = await Rig.start(t);
  const both = state([
    [A, [1, 2], [QUORUM]],
    [B, [1], [QUORUM]],
  ]);
  await rig.target.apply(both);
  await rig.target.ready(A, 1_000);
  await rig.target.ready(B, 1_000);
  const [source, destination, other] = [
    await rig.session(t, A, 1),
    await rig.session(t, A, 2),
    await rig.session(t, B, 1),
  ];
  assert.deepEqual(await destination.attentions(0), [], 'the destination opens the disk before the switch');
  assert.deepEqual(await source.attentions(0), ['6/2900']);
  await other.attentions(0);
  await source.reserveOut(0, { action: 0, newKey: 0xa });
  await other.reserveOut(0, { action: 0, newKey: 0xb });
  assert.equal((await other.reserveOut(0, { action: 4, key: 0xb, newKey: 0xa }))?.status, 0);
  assert.deepEqual(await destination.attentions(0), []);
  const sense = await destination.command(0, '03 00 00 00 fc 00');
  assert.equal((sense?.data[2] ?? 0xff) & 0x0f, 0, 'nor by REQUEST SENSE');
  await rig.target.apply(
    state([
      [A, [2], [QUORUM]],
      [B, [1], [QUORUM]],
    ]),
  );
  assert.deepEqual(await destination.attentions(0), ['6/2a05'], 'what its guest was never told');
});

test('a disk comes and goes while its VM runs; the other VM that has it notices nothing', async (t) => {
  const rig = await Rig.start(t);
  await rig.target.apply(
    state([
      [A, [1], [QUORUM]],
      [B, [1], [QUORUM, DATA]],
    ]),
  );
  await rig.target.ready(A, 1_000);
  await rig.target.ready(B, 1_000);
  const [a, b] = [await rig.session(t, A, 1), await rig.session(t, B, 1)];
  for (const [session, lun] of [
    [a, 0],
    [b, 0],
    [b, 1],
  ] as const)
    await session.attentions(lun);
  assert.equal((await a.write(1, { lba: 0, byte: 1 }))?.sense, '5/2500');
  await rig.target.apply(
    state([
      [A, [1], [QUORUM, DATA]],
      [B, [1], [QUORUM, DATA]],
    ]),
  );
  await rig.target.ready(A, 1_000);
  assert.deepEqual(await a.attentions(0), ['6/3f0e']);
  assert.deepEqual(await a.attentions(1), ['6/2900']);
  assert.equal((await a.write(1, { lba: 0, byte: 1 }))?.status, 0);
  await rig.target.apply(
    state([
      [A, [1], [QUORUM]],
      [B, [1], [QUORUM, DATA]],
    ]),
  );
  assert.deepEqual(await a.attentions(0), ['6/3f0e']);
  assert.equal((await a.write(1, { lba: 0, byte: 1 }))?.sense, '5/2500');
  assert.deepEqual([...(await b.attentions(0)), ...(await b.attentions(1))], []);
  assert.equal((await b.write(1, { lba: 0, byte: 1 }))?.status, 0);
});

test('a disk grows while it is used: every VM is told, and reads the new size', async (t) => {
  const rig = await Rig.start(t);
  await rig.target.apply(state([[A, [1], [QUORUM]]]));
  await rig.target.ready(A, 1_000);
  const a = await rig.session(t, A, 1);
  await a.attentions(0);
  await rig.target.apply(state([[A, [1], [QUORUM]]], 2 * MIB));
  await new Promise(setImmediate);
  assert.deepEqual(await a.attentions(0), ['6/2a09']);
  const capacity = await a.command(0, '25 00 00 00 00 00 00 00 00 00');
  assert.equal(capacity?.data.readUInt32BE(0), (2 * MIB) / 512 - 1);
});

test('nobody logs in before his disks are open and the key of the accounts is known; a fence does not wait for that', async (t) => {
  const rig = await Rig.start(t);
  rig.trouble = 'etcd does not answer';
  await rig.target.apply(state([[A, [1], [QUORUM]]]));
  await assert.rejects(rig.target.ready(A, 100), /etcd does not answer/);
  assert.equal(await rig.login(A, 1), 0x0202);
  await rig.target.apply(state([[A, [2], [QUORUM]]]));
  rig.trouble = null;
  await rig.target.ready(A, 5_000);
  rig.key = false;
  await assert.rejects(rig.target.ready(A, 50), /key/);
  assert.equal(await rig.login(A, 2), 0x0202);
  rig.key = true;
  await rig.session(t, A, 2);
});

test('a LUN reset by one VM ends what waits at the same disk for others, whatever their numbers for it', async (t) => {
  const rig = await Rig.start(t);
  await rig.target.apply(
    state([
      [A, [1], [QUORUM]],
      [B, [1], [DATA, QUORUM]],
    ]),
  );
  await rig.target.ready(A, 1_000);
  await rig.target.ready(B, 1_000);
  const [a, b] = [await rig.session(t, A, 1), await rig.session(t, B, 1)];
  await a.attentions(0);
  for (const lun of [0, 1]) await b.attentions(lun);
  const store = rig.stores.get(QUORUM);
  assert.ok(store !== undefined);
  store.hold();
  const held = b.write(1, { lba: 0, byte: 1 });
  while (store.heldCount === 0) await new Promise(setImmediate);
  const reset = a.reset(0);
  assert.deepEqual(await a.attentions(0), ['6/2903']);
  store.release();
  assert.equal(await reset.response(), 0);
  assert.equal((await held)?.status, 0x40);
  assert.deepEqual([await b.attentions(0), await b.attentions(1)], [[], ['6/2903']]);
});
