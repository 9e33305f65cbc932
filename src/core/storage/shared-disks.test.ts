import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../../base/errors.ts';
import { type DiskId, parseDiskId, parseGeneration, parseVmId, type VmId } from '../../base/ids.ts';
import type { TargetBackend, TargetDaemon, TargetProcess, TargetState, TargetUnit } from '../ports/target-backend.ts';
import { SharedDisks } from './shared-disks.ts';

const A = parseVmId('vm-00000000000a');
const B = parseVmId('vm-00000000000b');
const DISK = parseDiskId('disk-00000000000a');
const g = parseGeneration;
const LUNS = [{ disk: DISK, lun: 0 }];
const free = (): void => undefined;
const coded = (code: string) => (error: unknown) => error instanceof CodedError && error.code === code;

/** A node with one target at a time, which behaves as the test says. */
class FakeNode implements TargetBackend {
  readonly units = new Map<DiskId, TargetUnit>();
  readonly applied: TargetState[] = [];
  running: TargetProcess | null = null;
  starts = 0;
  /** The promise that the next `apply` waits for, or the error with which it fails. */
  onApply: () => Promise<void> = async () => undefined;
  /** Called by a kill before the target is gone. */
  onKill: () => Promise<void> = async () => undefined;
  onStart: () => Promise<void> = async () => undefined;
  #ended: () => void = () => undefined;

  findTargets = (): readonly TargetProcess[] => (this.running === null ? [] : [this.running]);
  killTarget = async (): Promise<void> => {
    await this.onKill();
    this.running = null;
    this.#ended();
  };
  adoptTarget = async (): Promise<TargetDaemon> => this.#daemon();
  startTarget = async (): Promise<TargetDaemon> => {
    await this.onStart();
    assert.equal(this.running, null, 'one target at a time');
    this.starts += 1;
    this.running = { pid: this.starts, startTicks: 1 };
    return this.#daemon();
  };
  listUnits = async (): Promise<readonly TargetUnit[]> => [...this.units.values()];
  createUnit = async (unit: TargetUnit): Promise<void> => void this.units.set(unit.disk, unit);
  growUnit = async (unit: TargetUnit): Promise<void> => void this.units.set(unit.disk, unit);
  deleteUnit = async (disk: DiskId): Promise<void> => void this.units.delete(disk);

  get last(): Readonly<Record<VmId, readonly number[]>> {
    return Object.fromEntries((this.applied.at(-1)?.vms ?? []).map(({ vm, generations }) => [vm, generations]));
  }

  #daemon(): TargetDaemon {
    const { running } = this;
    const isMine = (): boolean => this.running === running;
    return {
      get isRunning() {
        return isMine();
      },
      closed: new Promise<void>((resolve) => {
        this.#ended = resolve;
      }),
      state: async () => this.applied.at(-1) ?? { units: [], vms: [] },
      apply: async (state) => {
        await this.onApply();
        this.applied.push(state);
      },
      ready: async () => undefined,
      sessions: async () => [],
      kill: this.killTarget,
      release: free,
    };
  }
}

async function started(
  node = new FakeNode(),
  floorOf: (vm: VmId) => number = () => 1,
): Promise<{ node: FakeNode; shared: SharedDisks; lost: string[] }> {
  const lost: string[] = [];
  const clock = { wallMs: () => 0, monotonicMs: () => 0, after: () => free };
  const log = { info: free, warn: free };
  const shared = new SharedDisks({ clock, log, target: node, floorOf, onLost: () => void lost.push('lost') });
  await shared.adopt();
  await shared.create({ disk: DISK, sizeBytes: 1 << 20, blockBytes: 512 });
  return { node, shared, lost };
}

const below = (vm: VmId, floor: number) => (grant: { vm: VmId; generation: number }) =>
  grant.vm === vm && grant.generation < floor;

test('grants and revocations are told as whole states; a repetition tells nothing', async () => {
  const { node, shared } = await started();
  await shared.grant({ vm: A, generation: g(1), luns: LUNS }, free);
  await shared.grant({ vm: A, generation: g(1), luns: LUNS }, free);
  await shared.grant({ vm: B, generation: g(4), luns: LUNS }, free);
  await shared.grant({ vm: A, generation: g(2), luns: LUNS }, free);
  assert.deepEqual(node.last, { [A]: [1, 2], [B]: [4] });
  assert.deepEqual(await shared.revoke(below(A, 2)), [{ disk: DISK, generation: 1 }]);
  assert.deepEqual(node.last, { [A]: [2], [B]: [4] });
  assert.deepEqual(await shared.revoke(below(A, 2)), []);
  assert.equal(node.applied.length, 4);
  await assert.rejects(shared.delete(DISK), coded('conflict'));
  for (const [vm, generation] of [
    [A, 2],
    [B, 4],
  ] as const)
    await shared.grant({ vm, generation: g(generation), luns: [] }, free);
  assert.deepEqual(node.applied.at(-1), { units: [], vms: [] });
  await shared.delete(DISK);
  await assert.rejects(shared.grant({ vm: A, generation: g(2), luns: LUNS }, free), coded('not-found'));
});

test('a target that does not take its state in time is killed, and the others are served by the next one', async () => {
  const { node, shared } = await started();
  for (const vm of [A, B]) await shared.grant({ vm, generation: g(1), luns: LUNS }, free);
  let times = 0;
  node.onApply = async () => {
    if (times++ === 0) throw new CodedError('deadline', 'it stands still');
  };
  await shared.revoke(below(A, 2));
  assert.deepEqual([node.starts, node.last], [2, { [B]: [1] }]);
});

test('a revocation is acknowledged by no repetition while the target could not be ended', async () => {
  const { node, shared } = await started();
  await shared.grant({ vm: A, generation: g(1), luns: LUNS }, free);
  node.onApply = async () => Promise.reject(new CodedError('deadline', 'it stands still'));
  node.onKill = async () => Promise.reject(new CodedError('deadline', 'it does not go'));
  for (let time = 0; time < 3; time++) await assert.rejects(shared.revoke(below(A, 2)), coded('deadline'));
  node.onKill = async () => undefined;
  assert.deepEqual(await shared.revoke(below(A, 2)), [{ disk: DISK, generation: 1 }]);
  assert.equal(node.running, null);
});

test('a fence that comes while a grant is under way takes it back before it is acknowledged', async () => {
  const { node, shared } = await started();
  const gate = Promise.withResolvers<void>();
  node.onApply = () => gate.promise;
  let floor = 1;
  const check = (): void => {
    if (floor > 1) throw new CodedError('stale-order', 'fenced');
  };
  const granting = shared.grant({ vm: A, generation: g(1), luns: LUNS }, check);
  await new Promise<void>((resolve) => void Promise.resolve().then(resolve));
  floor = 2;
  const fencing = shared.revoke(below(A, 2));
  gate.resolve();
  await assert.rejects(granting, coded('stale-order'));
  assert.deepEqual(await fencing, [{ disk: DISK, generation: 1 }]);
  assert.deepEqual(node.last, {});
});

test('the fence of a VM without shared disks does not wait for the target', async () => {
  const { node, shared } = await started();
  const gate = Promise.withResolvers<void>();
  node.onStart = () => gate.promise;
  const granting = shared.grant({ vm: A, generation: g(1), luns: LUNS }, free);
  assert.deepEqual(await shared.revoke(below(B, 9)), []);
  gate.resolve();
  await granting;
});

test('a target that died is started again with what is granted; one that runs already is taken over with its grants', async () => {
  const { node, shared, lost } = await started();
  await shared.grant({ vm: A, generation: g(3), luns: LUNS }, free);
  node.applied.length = 0;
  await node.killTarget();
  await shared.keepUp();
  assert.deepEqual([lost.length, node.starts, node.last], [1, 2, { [A]: [3] }]);
  shared.release();
  const { shared: successor } = await started(node);
  assert.deepEqual(successor.grants, [{ vm: A, generation: 3 }]);
  assert.equal(node.starts, 2);
});

test('S16: the target is told each floor as it is when the state is told', async () => {
  const floors = new Map([[A, 1]]);
  const { node, shared } = await started(new FakeNode(), (vm) => floors.get(vm) ?? 1);
  const told = (): (number | undefined)[] => (node.applied.at(-1)?.vms ?? []).map(({ floor }) => floor);
  await shared.grant({ vm: A, generation: g(1), luns: LUNS }, free);
  await shared.grant({ vm: A, generation: g(2), luns: LUNS }, free);
  assert.deepEqual(told(), [1], 'a live migration: the source is not fenced');
  floors.set(A, 2);
  await shared.revoke(below(A, 2));
  assert.deepEqual(told(), [2]);
});

test('a target that dies as soon as it runs is started again at once, and not once more for each death', async () => {
  const { node, shared } = await started();
  await shared.grant({ vm: A, generation: g(1), luns: LUNS }, free);
  for (let death = 0; death < 5; death++) {
    await node.killTarget();
    await shared.keepUp();
  }
  assert.equal(node.starts, 2);
  // An order is not kept waiting.
  await shared.grant({ vm: A, generation: g(1), luns: LUNS }, free);
  assert.equal(node.starts, 3);
});
