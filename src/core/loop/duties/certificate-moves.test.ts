import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseVmId, type TaskId, type VmId } from '../../../base/ids.ts';
import { INCARNATION_DAYS_LEFT_MOVED } from '../../model/certificate.ts';
import { ClusterIndex } from '../../model/cluster-index.ts';
import type { VmRecord } from '../../model/vm.ts';
import { host, hostRecord, incarnation, vmRecord } from '../../plan/testing/sample-records.ts';
import { ManualClock } from '../../ports/testing/manual-clock.ts';
import { MemoryStore } from '../testing/memory-store.ts';
import { CertificateMoves } from './certificate-moves.ts';

const DAY_MS = 86_400_000;
const LOOK_MS = 60_000;
const vmId = (n: number): VmId => parseVmId(`vm-${n.toString(16).padStart(12, '0')}`);

/** VMs that run on one of two hosts, each with a certificate of so many days. */
class World {
  readonly store = new MemoryStore();
  readonly clock = new ManualClock();
  readonly index = new ClusterIndex();
  readonly moves: CertificateMoves;
  readonly endsAt = new Map<string, number>();
  #random = 0;

  constructor(daysLeft: readonly number[], more: (n: number) => Partial<VmRecord['spec']> = () => ({})) {
    for (const n of [1, 2]) this.store.put({ kind: 'host', id: host(n), value: hostRecord(n) });
    for (const [at, days] of daysLeft.entries()) {
      const n = at + 1;
      const phase = { kind: 'running', incarnation: incarnation(1, 1, n) } as const;
      const record = vmRecord(phase, { id: vmId(n), name: `vm${n}`, intent: 'running' });
      this.put({ ...record, spec: { ...record.spec, ...more(n) } });
      this.endsAt.set(`${vmId(n)} 1`, this.clock.wallMs() + days * DAY_MS);
    }
    this.index.load(this.store.snapshot);
    const quiet = { info: () => undefined, warn: (text: string) => assert.fail(text) };
    this.moves = new CertificateMoves({
      ...{ clock: this.clock, log: quiet, store: this.store, index: this.index },
      randomHex: (bytes) => (++this.#random).toString(16).padStart(bytes * 2, '0'),
      qmp: { certificateEndsAt: (vm, generation) => this.endsAt.get(`${vm} ${generation}`) ?? null },
    });
    this.moves.start();
  }

  put(vm: VmRecord): void {
    this.store.put({ kind: 'vm', id: vm.id, value: vm });
    this.index.setVm(vm.id, vm);
  }

  vm(n: number): VmRecord {
    return this.store.vms.get(vmId(n))?.value ?? assert.fail();
  }

  async look(): Promise<void> {
    await this.clock.advance(LOOK_MS);
  }

  /** The VMs that somebody wants to move. */
  get asked(): readonly string[] {
    return [...this.store.vms.values()].flatMap(({ value }) => (value.migrationRequest === null ? [] : [value.name]));
  }

  end(n: number, state: 'succeeded' | 'failed', message: string): void {
    const vm = this.vm(n);
    const id = vm.migrationRequest?.taskId as TaskId;
    const task = this.store.tasks.get(id)?.value ?? assert.fail();
    this.store.put({ kind: 'task', id, value: { ...task, state, message, endedAt: this.clock.wallMs() } });
    const isMoved = state === 'succeeded';
    const phase = isMoved ? ({ kind: 'running', incarnation: incarnation(2, 2, n) } as const) : vm.phase;
    this.put({ ...vm, migrationRequest: null, phase });
    if (isMoved) this.endsAt.set(`${vm.id} 2`, this.clock.wallMs() + 400 * DAY_MS);
  }
}

test('VMs whose certificates end are moved one after the other, the first to end first', async () => {
  const world = new World([400, INCARNATION_DAYS_LEFT_MOVED - 1, 40]);
  await world.look();
  assert.deepEqual(world.asked, ['vm3']);
  await world.look();
  assert.deepEqual(world.asked, ['vm3'], 'one at a time');
  world.end(3, 'succeeded', 'Moved.');
  await world.look();
  assert.deepEqual(world.asked, ['vm2']);
  world.end(2, 'succeeded', 'Moved.');
  await world.look();
  assert.deepEqual(world.asked, []);
  assert.deepEqual(world.moves.findings(), []);
});

test('a move that fails is a finding with its reason, and is tried again after a day', async () => {
  const world = new World([50]);
  await world.look();
  assert.deepEqual(world.moves.findings(), [], 'the leader has time');
  world.end(1, 'failed', 'No host has room.');
  await world.look();
  const [finding] = world.moves.findings();
  assert.match(finding?.message ?? '', /^The certificate with which VM vm1 runs ends on .*No host has room\. Move it/);
  assert.deepEqual(world.asked, []);
  for (let minutes = 0; minutes < 24 * 60; minutes++) await world.look();
  assert.deepEqual(world.asked, ['vm1']);
});

test('a VM that is on its way keeps the others waiting, and its reason if it comes back', async () => {
  const world = new World([40, 50]);
  await world.look();
  const { migrationRequest } = world.vm(1);
  const taskId = migrationRequest?.taskId as TaskId;
  const [source, destination] = [incarnation(1, 1, 1), incarnation(2, 2, 1)];
  const phase = { kind: 'migrating', source, destination, taskId, deadlineAt: 0 } as const;
  world.put({ ...world.vm(1), migrationRequest: null, phase });
  await world.look();
  assert.deepEqual(world.asked, [], 'one at a time');
  world.put({ ...world.vm(1), migrationRequest, phase: { kind: 'running', incarnation: source } });
  world.end(1, 'failed', 'The move was undone.');
  await world.look();
  assert.deepEqual(world.asked, ['vm2']);
  assert.match(world.moves.findings()[0]?.message ?? '', /VM vm1 .*The move was undone\./);
});

test('a VM that could not be moved is tried again after those that nobody tried yet', async () => {
  // Due at the look at which the other VM may be tried again.
  const world = new World([40, INCARNATION_DAYS_LEFT_MOVED + 1 + (1.5 * LOOK_MS) / DAY_MS]);
  await world.look();
  world.end(1, 'failed', 'No host has room.');
  await world.look();
  assert.deepEqual(world.asked, [], 'vm2 has time');
  await world.clock.advance(DAY_MS - LOOK_MS);
  assert.deepEqual(world.asked, [], 'nobody is due yet');
  await world.look();
  assert.deepEqual(world.asked, ['vm2']);
});

test('a VM that is pinned is not moved, and is a finding', async () => {
  const world = new World([50], () => ({ pin: host(1) }));
  await world.look();
  assert.deepEqual(world.asked, []);
  assert.match(world.moves.findings()[0]?.message ?? '', /it is pinned to h1\./);
});

test('whatever the reason, a certificate with less than 30 days is a finding; one that ended says so', async () => {
  const world = new World([29]);
  await world.look();
  assert.match(world.moves.findings()[0]?.message ?? '', /runs ends on \d{4}-\d\d-\d\d; after that a lost connection/);
  world.endsAt.set(`${vmId(1)} 1`, world.clock.wallMs() - 1);
  await world.look();
  assert.match(world.moves.findings()[0]?.message ?? '', /has ended/);
});

test('nothing is asked after the end of the term', async () => {
  const world = new World([50]);
  world.moves.stop();
  await world.look();
  assert.deepEqual(world.asked, []);
});
