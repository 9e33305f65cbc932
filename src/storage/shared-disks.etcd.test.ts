/** Shared disks with the real storage service, its target's process, and a real etcd that admits by common names. */
import assert from 'node:assert/strict';
import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, type TestContext, test } from 'node:test';
import { present } from '../base/assert.ts';
import { CodedError } from '../base/errors.ts';
import { type DiskId, parseDiskId, parseGeneration, parseHostName, parseVmId, type VmId } from '../base/ids.ts';
import type { ReservationRecord } from '../core/model/guest-cluster.ts';
import { keyOf } from '../core/model/keys.ts';
import { initiatorName } from '../core/model/shared-disk-identity.ts';
import type { VmPhase, VmSharedDisk } from '../core/model/vm.ts';
import type { SocketInitiator } from '../iscsi/testing/socket-initiator.ts';
import { monotonicMs } from '../os/monotonic.ts';
import { isRunning, signalProcess, waitGone } from '../os/process-table.ts';
import { until } from '../os/testing/until.ts';
import { isRecord, type Parser } from '../rpc/parse.ts';
import { StorageLab } from './testing/storage-lab.ts';

const anything: Parser<unknown> = (value) => value;
const coded = (code: string) => (error: unknown) => error instanceof CodedError && error.code === code;
const g = parseGeneration;
const MIB = 1024 ** 2;
const NEEDS = ['shared-disks'];
const TERM = 1;
const GONE_MS = 5_000;

let lab: StorageLab;
let next = 1;
before(async () => {
  lab = await StorageLab.start();
  await lab.authorize();
  await lab.startService();
});
afterEach(async () => {
  // The next test begins with a service that runs.
  await lab.stopService('SIGKILL');
  await lab.startService();
});
after(() => lab.stop());

const call = (method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown) =>
  lab.control.call({ method, path, body, deadlineMs: 20_000, parse: anything });
const create = (disk: DiskId, sizeBytes: number, blockBytes = 512) =>
  call('PUT', `/v1/shared-disks/${disk}`, { term: TERM, needs: NEEDS, sizeBytes, blockBytes });
const grant = (vm: VmId, generation: number, sharedDisks: readonly VmSharedDisk[]) =>
  call('POST', '/v1/grant', { term: TERM, needs: NEEDS, vm, generation, disks: [], sharedDisks });
const fence = (vm: VmId, below: number) => call('POST', '/v1/fence', { term: TERM, vm, below, disks: [] });
const running = (generation: number): VmPhase => ({
  kind: 'running',
  incarnation: { generation: g(generation), host: parseHostName('h1'), slot: 0 },
});

interface Made {
  readonly disk: DiskId;
  readonly luns: readonly VmSharedDisk[];
  readonly vms: readonly VmId[];
}

/**
 * A shared disk of 8 MiB and two VMs that have it as LUN 0, in etcd and at the service; generation 1 of both is
 * granted.
 */
async function sharedByTwo(): Promise<Made> {
  const number = (next++).toString(16).padStart(11, '0');
  const disk = parseDiskId(`disk-0${number}`);
  const luns = [{ disk, lun: 0 }];
  await create(disk, 8 * MIB);
  await lab.putSharedDisk(disk);
  const vms = ['a', 'b'].map((letter) => parseVmId(`vm-${letter}${number}`));
  for (const vm of vms) {
    await lab.putVm(vm, { generation: 1, phase: running(1), sharedDisks: luns });
    await grant(vm, 1, luns);
  }
  return { disk, luns, vms };
}

async function session(t: TestContext, vm: VmId | undefined, generation: number): Promise<SocketInitiator> {
  const opened = await lab.logIn(present(vm, 'a VM'), g(generation));
  assert.ok(typeof opened !== 'number', 'logged in');
  t.after(() => opened.close());
  await opened.attentions(0);
  return opened;
}

/** Logs in again until it is let in, as an initiator does. */
async function again(t: TestContext, vm: VmId | undefined, generation: number): Promise<SocketInitiator> {
  let opened: SocketInitiator | number = -1;
  await until('the log-in', async () => {
    opened = await lab.logIn(present(vm, 'a VM'), g(generation));
    return typeof opened !== 'number';
  });
  assert.ok(typeof opened !== 'number');
  const let_in: SocketInitiator = opened;
  t.after(() => let_in.close());
  await let_in.attentions(0);
  return let_in;
}

async function recordOf(disk: DiskId): Promise<ReservationRecord | null> {
  const found = await lab.etcd.get(keyOf.reservation(disk));
  return found === undefined ? null : (JSON.parse(found.value) as ReservationRecord);
}

const fileOf = (disk: DiskId): string => join(lab.dir, 'pool', 'shared', disk, 'disk.raw');

/** The first byte of a block, in the file itself. */
async function byteAt(disk: DiskId, lba: number): Promise<number> {
  await using file = await open(fileOf(disk));
  const { buffer } = await file.read({ buffer: Buffer.alloc(1), position: lba * 512 });
  return buffer[0] ?? -1;
}

async function killTarget(): Promise<void> {
  for (const target of lab.targets()) {
    signalProcess(target, 'SIGKILL');
    await waitGone(target, GONE_MS);
  }
}

test('an acknowledged reservation is in etcd with its time; it survives target, service and whole cluster', async (t) => {
  const { disk, vms } = await sharedByTwo();
  const [a, b] = [await session(t, vms[0], 1), await session(t, vms[1], 1)];
  const startedAt = Date.now();
  assert.equal((await a.reserveOut(0, { action: 0, newKey: 0xa }))?.status, 0);
  assert.equal((await b.reserveOut(0, { action: 0, newKey: 0xb }))?.status, 0);
  assert.equal((await a.reserveOut(0, { action: 1, key: 0xa, type: 5 }))?.status, 0);
  const record = present(await recordOf(disk), 'the record');
  const nexus = initiatorName(present(vms[0], 'a'));
  assert.deepEqual(record.state.reservation, { type: 5, holder: nexus });
  assert.ok((record.registeredAt[nexus] ?? 0) >= startedAt && (record.reservedAt ?? 0) >= startedAt);
  await killTarget();
  const a2 = await again(t, vms[0], 1);
  assert.deepEqual(await a2.keys(0), [0xa, 0xb]);
  await lab.stopService('SIGKILL');
  await killTarget();
  await lab.stopEtcd();
  await lab.restartEtcd();
  await lab.startService();
  const a3 = await again(t, vms[0], 1);
  assert.deepEqual(await a3.keys(0), [0xa, 0xb]);
  const b3 = await again(t, vms[1], 1);
  assert.equal((await b3.reserveOut(0, { action: 0, key: 0xb, newKey: 0 }))?.status, 0);
  assert.equal((await b3.write(0, { lba: 0, byte: 1 }))?.status, 0x18, 'no registrant any more');
  assert.equal((await recordOf(disk))?.reservedAt, record.reservedAt, 'it is the same reservation still');
});

test('a fence cuts: the fenced generation cannot log in, its writes never reach the file; its successor goes on', async (t) => {
  const { disk, luns, vms } = await sharedByTwo();
  const vm = present(vms[0], 'a VM');
  const source = await session(t, vm, 1);
  await source.reserveOut(0, { action: 0, newKey: 0xa });
  assert.equal(await lab.logIn(vm, g(2)), 0x0201, 'before it is granted');
  await lab.putVm(vm, { generation: 2, phase: running(2), sharedDisks: luns });
  await grant(vm, 2, luns);
  const destination = await session(t, vm, 2);
  assert.equal((await destination.write(0, { lba: 1, byte: 2 }))?.status, 0, 'the same nexus');
  let isFenced = false;
  const writer = (async () => {
    for (let byte = 1; ; byte = (byte % 200) + 1) {
      if ((await source.write(0, { lba: 0, byte })) === null) return;
      assert.ok(!isFenced, 'a write was answered after the fence');
    }
  })();
  const startedMs = monotonicMs();
  assert.deepEqual(await fence(vm, 2), { revoked: [{ disk, generation: 1 }] });
  t.diagnostic(`fence under load: ${(monotonicMs() - startedMs).toFixed(1)} ms`);
  isFenced = true;
  const left = await byteAt(disk, 0);
  await writer;
  assert.equal(await lab.logIn(vm, g(1)), 0x0201);
  await assert.rejects(grant(vm, 1, luns), coded('stale-order'));
  assert.equal((await destination.write(0, { lba: 2, byte: 3 }))?.status, 0);
  assert.equal(await byteAt(disk, 0), left, 'nothing came after the fence');
  assert.deepEqual(await destination.keys(0), [0xa]);
});

test('the service comes and goes without anybody noticing, and fences what it took over', async (t) => {
  const { vms } = await sharedByTwo();
  const vm = present(vms[0], 'a VM');
  const a = await session(t, vm, 1);
  const [target] = lab.targets();
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    await lab.stopService(signal);
    assert.equal((await a.write(0, { lba: 0, byte: 1 }))?.status, 0);
    await lab.startService();
    assert.equal((await a.write(0, { lba: 0, byte: 2 }))?.status, 0);
  }
  assert.deepEqual(
    lab.targets().map(({ pid }) => pid),
    [target?.pid],
  );
  await fence(vm, 2);
  assert.equal(await a.write(0, { lba: 0, byte: 3 }), null);
  assert.equal(await lab.logIn(vm, g(1)), 0x0202, 'nothing is granted to it any more');
});

test('a target that stands still is killed by a fence, and the others are served again', async (t) => {
  const { vms } = await sharedByTwo();
  const [a, b] = [present(vms[0], 'a'), present(vms[1], 'b')];
  const [fenced] = [await session(t, a, 1), await session(t, b, 1)];
  const target = present(lab.targets()[0], 'the target');
  signalProcess(target, 'SIGSTOP');
  const under = fenced.write(0, { lba: 0, byte: 9 });
  await fence(a, 2);
  assert.ok(!isRunning(target));
  assert.equal(await under, null);
  const back = await again(t, b, 1);
  assert.equal((await back.write(0, { lba: 0, byte: 1 }))?.status, 0);
  assert.equal(typeof (await lab.logIn(a, g(1))), 'number');
});

test('without etcd I/O goes on, and a change of reservations is refused in bounded time, to be tried again', async (t) => {
  const { disk, vms } = await sharedByTwo();
  const a = await session(t, vms[0], 1);
  await a.reserveOut(0, { action: 0, newKey: 0xa });
  await lab.stopEtcd();
  const startedMs = monotonicMs();
  const refused = await a.reserveOut(0, { action: 1, key: 0xa, type: 5 });
  t.diagnostic(`refused after ${Math.round(monotonicMs() - startedMs)} ms`);
  assert.equal(refused?.sense, 'b/4400', 'an aborted command: what an initiator tries again');
  assert.equal((await a.write(0, { lba: 0, byte: 1 }))?.status, 0);
  await lab.restartEtcd();
  await until('the change', async () => (await a.reserveOut(0, { action: 1, key: 0xa, type: 5 }))?.status === 0);
  assert.equal((await recordOf(disk))?.state.reservation?.type, 5);
});

test('disks are made, grow while they are used, and go when nobody has them; the report tells', async (t) => {
  const { disk, luns, vms } = await sharedByTwo();
  const a = await session(t, vms[0], 1);
  await create(disk, 8 * MIB);
  await assert.rejects(create(disk, 4 * MIB), coded('conflict'));
  await assert.rejects(create(disk, 8 * MIB, 4096), coded('conflict'));
  await assert.rejects(create(disk, 8 * MIB + 1), coded('bad-input'));
  await create(disk, 16 * MIB);
  await until('the attention', async () => (await a.attentions(0)).includes('6/2a09'));
  assert.equal((await a.write(0, { lba: (16 * MIB) / 512 - 1, byte: 1 }))?.status, 0);
  await assert.rejects(call('DELETE', `/v1/shared-disks/${disk}?term=${TERM}`), coded('conflict'));
  const target = await stat(`/proc/${present(lab.targets()[0], 'the target').pid}`);
  assert.equal((await stat(fileOf(disk))).uid, target.uid, 'its disks are those of its user');
  t.diagnostic(`the target runs as user ${target.uid}`);
  const report = await call('GET', '/v1/report');
  assert.ok(isRecord(report) && Array.isArray(report['sharedDisks']));
  const shown: unknown = report['sharedDisks'].find((one: unknown) => isRecord(one) && one['disk'] === disk);
  assert.ok(isRecord(shown) && Array.isArray(shown['grants']));
  assert.equal(shown['sizeBytes'], 16 * MIB);
  const connections: unknown = shown['grants'].flatMap((one: unknown) => (isRecord(one) ? one['connections'] : []));
  assert.ok(Array.isArray(connections) && isRecord(connections[0]));
  assert.equal(connections[0]['address'], '127.0.0.1');
  for (const vm of vms) await grant(vm, 1, []);
  assert.equal(await a.write(0, { lba: 0, byte: 1 }), null, 'what was detached is cut');
  // As a leader does it: from here on no VM may have the disk.
  await lab.etcd.txn({ compare: [], success: [{ delete: keyOf.sharedDisk(disk) }] });
  for (let time = 0; time < 2; time++) await call('DELETE', `/v1/shared-disks/${disk}?term=${TERM}`);
  await assert.rejects(grant(present(vms[0], 'a'), 1, luns), coded('not-found'));
});

test('64 TiB in blocks of 4096 bytes, where the file system has room for such a file', async (t) => {
  const disk = parseDiskId('disk-0000000000f0');
  const sizeBytes = 64 * 1024 ** 4;
  const made = await create(disk, sizeBytes, 4096).then(
    () => true,
    (error: unknown) => {
      assert.ok(coded('no-capacity')(error), String(error));
      return false;
    },
  );
  if (!made) return t.diagnostic('this file system has no files of 64 TiB: refused with no-capacity');
  const vm = parseVmId('vm-0000000000f0');
  await grant(vm, 1, [{ disk, lun: 7 }]);
  const a = await session(t, vm, 1);
  await a.attentions(7);
  const capacity = await a.command(7, '9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00');
  assert.equal(capacity?.data.readBigUInt64BE(0), BigInt(sizeBytes / 4096 - 1));
  await grant(vm, 1, []);
  await call('DELETE', `/v1/shared-disks/${disk}?term=${TERM}`);
});
