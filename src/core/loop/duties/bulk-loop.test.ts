import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type HostName, parseVmId, type TaskId, type VmId } from '../../../base/ids.ts';
import type { TaskRecord } from '../../model/cluster.ts';
import { ClusterIndex } from '../../model/cluster-index.ts';
import { FIRST_EPOCH } from '../../model/record-shapes.ts';
import type { VmRecord } from '../../model/vm.ts';
import { host, hostRecord, incarnation, seenHost, vmRecord } from '../../plan/testing/sample-records.ts';
import type { RequestSnapshot } from '../../ports/store.ts';
import { ManualClock, settled } from '../../ports/testing/manual-clock.ts';
import { beginBulk } from '../../request/bulk.ts';
import { MemoryStore } from '../testing/memory-store.ts';
import { BulkLoop, type BulkLoopPorts } from './bulk-loop.ts';

const vmId = (n: number): VmId => parseVmId(`vm-${n.toString(16).padStart(12, '0')}`);
const stopped = (n: number): VmRecord =>
  vmRecord({ kind: 'stopped' }, { id: vmId(n), name: `vm${n}`, intent: 'stopped' });
const running = (n: number): VmRecord =>
  vmRecord({ kind: 'running', incarnation: incarnation(1, 1, n) }, { id: vmId(n), name: `vm${n}`, intent: 'running' });

/** A host with two stopped VMs and one that runs, and a judge of a test's own. */
class World {
  readonly store = new MemoryStore();
  readonly clock = new ManualClock();
  readonly index = new ClusterIndex();
  readonly warned: string[] = [];
  judge: BulkLoopPorts['estate']['judge'] = async () => [];
  #random = 0;
  #turn: Promise<unknown> = Promise.resolve();
  readonly loop: BulkLoop;

  constructor() {
    this.store.put({ kind: 'host', id: host(1), value: hostRecord(1) });
    for (const each of [stopped(1), stopped(2), running(3)]) this.store.put({ kind: 'vm', id: each.id, value: each });
    this.index.load(this.store.snapshot);
    this.loop = new BulkLoop({
      clock: this.clock,
      log: { info: () => undefined, warn: (text) => void this.warned.push(text) },
      store: this.store,
      index: this.index,
      randomHex: (bytes) => this.#randomHex(bytes),
      seesRunning: ({ phase }) => phase.kind === 'running',
      seeHost: (name: HostName) => seenHost(1, { host: name }),
      estate: {
        judge: (changes) => this.judge(changes),
        inTurn: (act) => {
          const next = this.#turn.then(act);
          this.#turn = next.catch(() => undefined);
          return next;
        },
        expect: () => undefined,
        expected: () => [],
      },
    });
    this.store.onChange(({ kind, id }) => {
      if (kind === 'vm') this.index.setVm(id as VmId, this.store.vms.get(id as VmId)?.value ?? null);
      if (kind === 'task') this.loop.taskChanged(id as TaskId);
    });
  }

  #randomHex(bytes: number): string {
    return (++this.#random).toString(16).padStart(bytes * 2, '0');
  }

  ask(action: 'start' | 'stop', n: number): TaskRecord['id'] {
    const records = { ...this.store.snapshot, epoch: FIRST_EPOCH, vmNames: new Map() } as unknown as RequestSnapshot;
    const basis = {
      records,
      index: this.index,
      now: this.clock.wallMs(),
      randomHex: (b: number) => this.#randomHex(b),
    };
    const { changes, result } = beginBulk(basis, { action, vms: [vmId(n)] });
    for (const change of changes) this.store.put(change);
    return result;
  }

  intent(n: number): string | undefined {
    return this.store.vms.get(vmId(n))?.value.intent;
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
    await settled();
  }
}

test('a start whose judgement takes long holds no other request on many VMs up', async () => {
  const world = new World();
  world.judge = () => new Promise(() => undefined);
  world.ask('start', 1);
  await world.pass(100);
  world.ask('stop', 3);
  await world.pass(100);
  assert.deepEqual([world.intent(1), world.intent(3)], ['stopped', 'stopped']);
  world.loop.stop();
});

test('a start that cannot be judged is tried again after two seconds, and the next one need not wait for that', async () => {
  const world = new World();
  let refusals = 0;
  let isKnown = false;
  world.judge = async (changes) => {
    const isFirst = changes.some((change) => change.kind === 'vm' && change.vm.id === vmId(1));
    if (!isFirst || isKnown) return [];
    refusals += 1;
    throw new Error('not known now');
  };
  world.ask('start', 1);
  world.ask('start', 2);
  await world.pass(100);
  assert.deepEqual([world.intent(1), world.intent(2), refusals], ['stopped', 'running', 1]);
  await world.pass(1_000);
  assert.equal(refusals, 1, 'it rests, whatever wakes the loop');
  isKnown = true;
  await world.pass(1_500);
  assert.deepEqual([world.intent(1), world.warned.length], ['running', 1]);
  world.loop.stop();
});
