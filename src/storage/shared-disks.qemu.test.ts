/**
 * A guest's shared disk for real: QEMU as the agent starts it, its orders as a control node gives them, storage
 * service, target and etcd.
 */
import assert from 'node:assert/strict';
import { chmod, open, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launchQemu } from '../agent/qemu/launch.ts';
import { present } from '../base/assert.ts';
import type { PeerIdentity } from '../base/identity.ts';
import {
  type DiskId,
  type Generation,
  parseControlName,
  parseDiskId,
  parseGeneration,
  parseHostName,
  parseVmId,
  type Term,
} from '../base/ids.ts';
import { qmpOverTls } from '../control/links/qmp-connector.ts';
import { pathsFrom } from '../core/model/paths.ts';
import type { VmPhase } from '../core/model/vm.ts';
import type { LaunchOrder, LaunchSharedDisk } from '../core/ports/host-link.ts';
import type { QmpTarget } from '../core/ports/qmp-link.ts';
import type { QmpSessions } from '../core/qmp/qmp-sessions.ts';
import { checkSequence } from '../images/sequence-check.ts';
import { buildTiny, type TinyImage } from '../images/tiny.ts';
import type { SocketInitiator } from '../iscsi/testing/socket-initiator.ts';
import { systemClock } from '../os/clock.ts';
import { monotonicMs } from '../os/monotonic.ts';
import { type ProcessIdentity, signalProcess, waitGone } from '../os/process-table.ts';
import { until } from '../os/testing/until.ts';
import { issue } from '../pki/authority.ts';
import type { Credentials } from '../pki/credentials.ts';
import type { Parser } from '../rpc/parse.ts';
import { StorageLab } from './testing/storage-lab.ts';

const CACHE = fileURLToPath(new URL('../../.cache/images', import.meta.url));
const VM = parseVmId('vm-00000000000a');
const OTHER = parseVmId('vm-00000000000b');
const DATA = parseDiskId('disk-00000000000a');
const QUORUM = parseDiskId('disk-00000000000b');
const MIB = 1024 ** 2;
const SIZE_BYTES = 64 * MIB;
const g = parseGeneration;
const anything: Parser<unknown> = (value) => value;
const isRoot = process.geteuid?.() === 0;
/** A user id that no user has. */
const QEMU_UID = 731_000;
const GONE_MS = 5_000;

let lab: StorageLab;
let image: TinyImage;
let qmp: QmpSessions;
const qemus: ProcessIdentity[] = [];

before(async () => {
  image = await buildTiny({ cacheDir: CACHE });
  lab = await StorageLab.start();
  await lab.authorize();
  const credentials = await credentialsOf({ kind: 'control', name: parseControlName('c1') });
  const paths = pathsFrom({ self: 'c1', controls: [], storage: [] });
  const to = { credentials, paths: () => paths, relayOf: () => null };
  qmp = qmpOverTls(to, { clock: systemClock, monitor: 0 });
  await lab.startService();
  for (const disk of [DATA, QUORUM]) {
    const order = { term: 1, needs: ['shared-disks'], sizeBytes: SIZE_BYTES, blockBytes: 512 };
    await call('PUT', `/v1/shared-disks/${disk}`, order);
    await lab.putSharedDisk(disk);
  }
});
after(async () => {
  qmp?.close();
  for (const qemu of qemus) if (signalProcess(qemu, 'SIGKILL')) await waitGone(qemu, GONE_MS);
  await lab?.stop();
});

const call = (method: 'GET' | 'POST' | 'PUT', path: string, body?: unknown) =>
  lab.control.call({ method, path, body, deadlineMs: 20_000, parse: anything });
const grant = (vm: typeof VM, generation: number, disks: readonly DiskId[]) =>
  call('POST', '/v1/grant', {
    term: 1,
    needs: ['shared-disks'],
    vm,
    generation,
    disks: [],
    sharedDisks: disks.map((disk, lun) => ({ disk, lun })),
  });

async function credentialsOf(identity: PeerIdentity): Promise<Credentials> {
  return { caPem: lab.authority.certPem, ...(await issue(lab.authority, { identity, daysValid: 1 })) };
}

function targetOf(generation: number): QmpTarget {
  const { address } = lab;
  const addresses = { control: address, storage: address, overlay: address };
  return { vm: VM, generation: g(generation), slot: 700 + generation, host: parseHostName('h1'), addresses };
}

const sharedDisk = (disk: DiskId, lun: number, generation: Generation): LaunchSharedDisk => ({
  disk,
  lun,
  ...lab.accountOf(VM, generation),
});

/** The tiny guest, writing its sequence to the shared disk. */
async function launch(generation: number): Promise<void> {
  const directory = join(lab.dir, `qemu-${generation}`);
  const order: LaunchOrder = {
    term: 1 as Term,
    vm: VM,
    vmName: 'a',
    generation: g(generation),
    slot: targetOf(generation).slot,
    incoming: generation > 1,
    machine: {
      ...{ vcpus: 1, memoryBytes: 128 * MIB, cpuModel: 'baseline', firmware: 'direct', kernel: null, initrd: null },
      append: `${image.append} gp.workload=sequence gp.disk=sda gp.rate=20`,
    },
    disks: [],
    sharedDisks: [sharedDisk(DATA, 0, g(generation))],
    nics: [],
    credentials: await credentialsOf({ kind: 'incarnation', vmId: VM, generation: g(generation) }),
    network: { revision: 1, networks: [], drop: [] },
  };
  const qemu = await launchQemu(order, {
    confinement: { uid: isRoot ? QEMU_UID : null, root: isRoot },
    context: { accelerator: 'tcg', directory, kernelFile: image.kernelPath, initrdFile: image.initrdPath },
    deadlineMs: 20_000,
    signal: new AbortController().signal,
  });
  qemus.push(qemu);
  const secret = await stat(join(directory, `${DATA}.secret`));
  assert.equal(secret.mode & 0o777, 0o400);
  const said = await readFile(`/proc/${qemu.pid}/cmdline`, 'latin1');
  assert.ok(!said.includes(lab.accountOf(VM, g(generation)).secret));
}

const consoleOf = (generation: number): Promise<string> =>
  readFile(join(lab.dir, `qemu-${generation}`, 'serial.log'), 'latin1').catch(() => '');
const sequences = (text: string): number[] => [...text.matchAll(/^seq (\d+) \d+\r?$/gm)].map(([, n]) => Number(n));

/** Waits until the guest has acknowledged `more` writes from now on. */
async function goesOn(generation: number, more: number): Promise<void> {
  const before = sequences(await consoleOf(generation)).length;
  await until('the guest writes', async () => sequences(await consoleOf(generation)).length >= before + more, {
    deadlineMs: 90_000,
  });
}

async function handOf(vm: typeof VM, generation: number): Promise<SocketInitiator> {
  const hand = await lab.logIn(vm, g(generation));
  assert.ok(typeof hand !== 'number', 'logged in by hand');
  await hand.attentions(0);
  return hand;
}

const statusOf = async (generation: number): Promise<string> => {
  const seen = await qmp.observe(targetOf(generation));
  return seen.kind === 'answers' ? seen.status : seen.kind;
};

const phase = (generation: number): VmPhase => ({
  kind: 'running',
  incarnation: { generation: g(generation), host: parseHostName('h1'), slot: 0 },
});

test('a guest writes to its shared disk under its own reservation, which another VM does not get past', async () => {
  await chmod(lab.dir, 0o711);
  const sharedDisks = [{ disk: DATA, lun: 0 }];
  await lab.putVm(VM, { generation: 1, phase: phase(1), sharedDisks });
  await lab.putVm(OTHER, { generation: 1, phase: phase(1), sharedDisks });
  await grant(VM, 1, [DATA]);
  await grant(OTHER, 1, [DATA]);
  await launch(1);
  await qmp.cont(targetOf(1));
  await goesOn(1, 5);
  const hand = await handOf(VM, 1);
  assert.equal((await hand.reserveOut(0, { action: 0, newKey: 0xa }))?.status, 0);
  assert.equal((await hand.reserveOut(0, { action: 1, key: 0xa, type: 5 }))?.status, 0);
  hand.close();
  const other = await handOf(OTHER, 1);
  assert.equal((await other.write(0, { lba: 100_000, byte: 1 }))?.status, 0x18);
  other.close();
  await goesOn(1, 5);
});

test('kill -9 of the target: the guest stalls and goes on, its reservation is there', async (t) => {
  const target = present(lab.targets()[0], 'the target');
  const startedMs = monotonicMs();
  signalProcess(target, 'SIGKILL');
  await waitGone(target, GONE_MS);
  await goesOn(1, 5);
  t.diagnostic(`five more writes ${Math.round(monotonicMs() - startedMs)} ms after the target was killed`);
  assert.doesNotMatch(await consoleOf(1), /seq-error/);
  const hand = await handOf(VM, 1);
  assert.deepEqual(await hand.keys(0), [0xa]);
  hand.close();
});

test('a disk is plugged in and out while the guest runs', async () => {
  await grant(VM, 1, [DATA, QUORUM]);
  const plugged = sharedDisk(QUORUM, 1, g(1));
  for (let time = 0; time < 2; time++) await qmp.plug(targetOf(1), plugged);
  const open = await qmp.sharedDisks(targetOf(1));
  assert.deepEqual(new Set(open.map(({ disk, isPlugged }) => isPlugged && disk)), new Set([DATA, QUORUM]));
  await goesOn(1, 5);
  for (let time = 0; time < 2; time++) await qmp.unplug(targetOf(1), QUORUM);
  assert.deepEqual(await qmp.sharedDisks(targetOf(1)), [{ disk: DATA, isPlugged: true }]);
  await grant(VM, 1, [DATA]);
  await goesOn(1, 5);
  assert.doesNotMatch(await consoleOf(1), /seq-error/);
});

test("S16: after a node's loss of power the guest's next fsync fails, once", async () => {
  // As another boot finds it: the record names the boot before.
  const record = join(lab.dir, 'pool', 'shared', DATA, 'cached.json');
  const text = await readFile(record, 'utf8');
  const ofAnotherBoot = text.replace(/"bootId":"[^"]+"/, '"bootId":"another"');
  assert.notEqual(ofAnotherBoot, text);
  await writeFile(record, ofAnotherBoot);
  const target = present(lab.targets()[0], 'the target');
  signalProcess(target, 'SIGKILL');
  await waitGone(target, GONE_MS);
  const errors = async (): Promise<number> => (await consoleOf(1)).split('seq-error').length - 1;
  await until('the guest is told', async () => (await errors()) > 0, { deadlineMs: 90_000 });
  await goesOn(1, 5);
  assert.equal(await errors(), 1, await consoleOf(1));
});

test('S10: what a destination opens before the switch takes no unit attention from the guest', async () => {
  const source = targetOf(1);
  await qmp.halt(source);
  await call('PUT', `/v1/shared-disks/${DATA}`, {
    ...{ term: 1, needs: ['shared-disks'] },
    ...{ sizeBytes: 2 * SIZE_BYTES, blockBytes: 512 },
  });
  await grant(VM, 2, [DATA]);
  await launch(2);
  const hand = await lab.logIn(VM, g(1));
  assert.ok(typeof hand !== 'number');
  assert.ok(
    (await hand.attentions(0)).includes('6/2a09'),
    'still there for the older generation, after QEMU has logged in',
  );
  hand.close();
  await qmp.cont(source);
  await goesOn(1, 5);
});

test('a live migration keeps disk and reservation; the fence cuts the source, which never writes again', async (t) => {
  const [source, destination] = [targetOf(1), targetOf(2)];
  await qmp.listen(destination, source);
  await qmp.send(source, destination, { slowDown: true });
  await until('the source has sent', async () => (await statusOf(1)) === 'postmigrate', { deadlineMs: 60_000 });
  await until('the destination has all', async () => (await statusOf(2)) === 'paused', { deadlineMs: 60_000 });
  await lab.putVm(VM, { generation: 2, phase: phase(2), sharedDisks: [{ disk: DATA, lun: 0 }] });
  const startedMs = monotonicMs();
  await call('POST', '/v1/fence', { term: 1, vm: VM, below: 2, disks: [] });
  const fencedMs = monotonicMs();
  await qmp.cont(destination);
  t.diagnostic(`fence ${(fencedMs - startedMs).toFixed(1)} ms, cont ${(monotonicMs() - fencedMs).toFixed(1)} ms`);
  await goesOn(2, 10);
  // As a source does that does not know that it is one: it reaches no disk.
  const stood = sequences(await consoleOf(1)).length;
  await qmp.cont(source);
  // A write that was acknowledged before it was paused is told only now, as the destination has told it; never a second
  // one.
  await goesOn(2, 20);
  const before = sequences(await consoleOf(1)).length;
  assert.ok(before - stood <= 1, `${before - stood} writes`);
  await goesOn(2, 40);
  assert.equal(sequences(await consoleOf(1)).length, before, 'the fenced source had no write acknowledged');
  assert.equal(await lab.logIn(VM, g(1)), 0x0201);
  const hand = await handOf(VM, 2);
  assert.deepEqual(await hand.keys(0), [0xa]);
  hand.close();
  const [first, second] = [await consoleOf(1), await consoleOf(2)];
  assert.doesNotMatch(second, /seq-error/);
  await using file = await open(join(lab.dir, 'pool', 'shared', DATA, 'disk.raw'));
  const readAt = async (position: number, length: number): Promise<Uint8Array> =>
    (await file.read({ buffer: Buffer.alloc(length), position })).buffer;
  const report = await checkSequence({ readAt, diskSizeBytes: SIZE_BYTES, serialLogs: [first, second] });
  assert.ok(report.good, JSON.stringify(report));
});
