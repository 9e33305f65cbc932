import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostName, Term, VmId } from '../../../base/ids.ts';
import { SimClock } from '../../../sim/time/sim-clock.ts';
import type { EventRecord, HostRecord, TaskRecord } from '../../model/cluster.ts';
import type { VmPhase, VmRecord } from '../../model/vm.ts';
import { host, hostRecord, incarnation, task, vmRecord } from '../../plan/testing/sample-records.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Change, Entry, SeenCommit, Snapshot } from '../../ports/store.ts';
import { RecordWatch, TURN_MS } from './record-watch.ts';

const GIB = 2 ** 30;
const TERM = 3 as Term;
const id = (n: number): VmId => `vm-${n.toString(16).padStart(12, '0')}` as VmId;
const on = (h: number, slot = 0): VmPhase => ({ kind: 'running', incarnation: { ...incarnation(1, h), slot } });
const vm = (n: number, phase: VmPhase, more: Partial<VmRecord> = {}): VmRecord => {
  const record = vmRecord(phase, more);
  return { ...record, id: id(n), name: `vm${n}`, spec: { ...record.spec, memoryBytes: GIB } };
};
const vmChange = (value: VmRecord): Change => ({ kind: 'vm', id: value.id, value });
const hostOf = (n: number): HostRecord =>
  hostRecord(n, { capacity: { ...hostRecord(n).capacity, memoryBytes: 64 * GIB } });

/** Records, their watch, and a clock; `write` is a commit of somebody. */
class World {
  readonly clock = new SimClock();
  readonly vms = new Map<VmId, Entry<VmRecord>>();
  readonly hosts = new Map<HostName, Entry<HostRecord>>();
  readonly tasks = new Map<TaskRecord['id'], Entry<TaskRecord>>();
  readonly unreadable = new Map<string, string>();
  readonly events: EventRecord[] = [];
  revision = 1;
  completeRevision = Number.MAX_SAFE_INTEGER;
  #listener: (commit: SeenCommit) => void = () => undefined;

  constructor() {
    for (const n of [1, 2, 3]) this.hosts.set(host(n), { value: hostOf(n), revision: 1 });
  }

  start(clock: Clock = this.clock): RecordWatch {
    const world = this;
    const none = new Map<never, never>();
    const snapshot = {
      ...{ vms: this.vms, hosts: this.hosts, tasks: this.tasks, unreadable: this.unreadable },
      ...{ disks: none, sharedDisks: none, guestClusters: none },
      get revision() {
        return world.revision;
      },
      get completeRevision() {
        return world.completeRevision;
      },
    } as unknown as Snapshot;
    const watch = new RecordWatch({
      clock,
      log: { info: () => undefined, warn: () => undefined },
      store: {
        snapshot,
        leads: () => true,
        commit: async ({ events }) => {
          this.events.push(...events);
          return 'committed';
        },
        onCommit: (listener) => {
          this.#listener = listener;
        },
      },
    });
    watch.start();
    return watch;
  }

  write(by: SeenCommit['by'], ...changes: readonly Change[]): void {
    this.revision++;
    for (const { kind, id: of, value } of changes)
      if (kind === 'vm' && value !== null) this.vms.set(of, { value, revision: this.revision });
    this.#listener({ by, changes });
  }

  /** Lets seconds pass. */
  pass(seconds = 10): Promise<void> {
    return this.clock.run(this.clock.monotonicMs() + 1_000 * seconds);
  }
}

/**
 * A clock whose timers fire at once, one after the other; it measures how long each turn takes the thread, in ms of its
 * CPU time: other work on the machine does not count.
 */
class StopwatchClock implements Clock {
  readonly #timers: (() => void)[] = [];
  #turns: number[] = [];

  wallMs(): number {
    return Date.now();
  }

  monotonicMs(): number {
    return performance.now();
  }

  after(_delayMs: number, callback: () => void): () => void {
    this.#timers.push(callback);
    return () => void this.#timers.splice(this.#timers.indexOf(callback), 1);
  }

  async run(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      const callback = this.#timers.shift();
      const before = process.threadCpuUsage();
      callback?.();
      const { user, system } = process.threadCpuUsage(before);
      this.#turns.push((user + system) / 1_000);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** The turns since the last call, in ms each. */
  take(): readonly number[] {
    return this.#turns.splice(0);
  }
}

const rulesOf = (watch: RecordWatch): string[] => watch.findings.map(({ rule, about }) => `${rule} ${about}`);

test('what stands when a term begins is judged, and a finding stands until the object keeps the rule again', async () => {
  const world = new World();
  for (const n of [1, 2]) world.vms.set(id(n), { value: vm(n, on(1)), revision: 1 });
  const watch = world.start();
  await world.pass();
  assert.deepEqual(rulesOf(watch), ['C1-hosts-have-room h1']);
  assert.match(watch.findings[0]?.what ?? '', /vm1 and vm2 share slot 0 of h1/);
  assert.deepEqual(
    world.events.map(({ kind, message }) => [kind, message]),
    [['rule-broken', 'The records break rule C1-hosts-have-room: vm1 and vm2 share slot 0 of h1.']],
  );
  world.write(TERM, vmChange(vm(2, { kind: 'stopped' })));
  await world.pass();
  assert.deepEqual(rulesOf(watch), []);
  world.write(TERM, vmChange(vm(2, on(1))));
  await world.pass();
  assert.deepEqual([rulesOf(watch), world.events.length], [['C1-hosts-have-room h1'], 2]);
  watch.stop();
});

test('a commit is judged by whose it is; what may sum up several commits is only followed', async () => {
  const world = new World();
  const watch = world.start();
  const wish: TaskRecord = {
    id: task(1),
    kind: 'vm.stop',
    target: { kind: 'vm', name: 'vm1' },
    ...{ state: 'running', progressPercent: null, message: '', startedAt: 0, endedAt: null },
  };
  await world.pass();
  world.write('people', vmChange(vm(1, on(1), { startTask: task(1) })), { kind: 'task', id: task(1), value: wish });
  world.write('people', vmChange(vm(1, on(1), { startTask: task(1), intent: 'stopped' })));
  await world.pass();
  assert.deepEqual(rulesOf(watch), []);
  world.write(TERM, vmChange(vm(1, on(1), { intent: 'stopped' })));
  world.write('unknown', vmChange(vm(1, { kind: 'stopped' }, { intent: 'stopped' })));
  await world.pass();
  assert.deepEqual(rulesOf(watch), ['T3-wishes-kept T3-wishes-kept']);
  world.write('people', vmChange(vm(1, on(2), { intent: 'stopped' })));
  await world.pass();
  assert.deepEqual(rulesOf(watch).at(-1), 'E1-only-leaders-decide E1-only-leaders-decide');
  await world.pass(3_700);
  assert.deepEqual(rulesOf(watch), [], 'what a commit broke stands for an hour');
  watch.stop();
});

test('no object is judged while a record cannot be read, or while only a part of a transaction is known', async () => {
  const world = new World();
  const watch = world.start();
  world.unreadable.set('/gp/vm/vm-1', 'is no object');
  await world.pass();
  world.write('people', vmChange(vm(1, on(1))), vmChange(vm(2, on(1))));
  await world.pass();
  assert.deepEqual(rulesOf(watch), []);
  world.unreadable.clear();
  world.completeRevision = world.revision - 1;
  await world.pass();
  assert.deepEqual(rulesOf(watch), []);
  world.completeRevision = world.revision;
  await world.pass();
  assert.deepEqual(rulesOf(watch), ['C1-hosts-have-room h1']);
  watch.stop();
  world.write('people', vmChange(vm(2, { kind: 'stopped' })));
  await world.pass();
  assert.deepEqual(rulesOf(watch), ['C1-hosts-have-room h1'], 'nothing happens after the end of the term');
});

test('with more changes than may wait, everything is read anew; a thousand findings are bounded events', async () => {
  const world = new World();
  const watch = world.start();
  await world.pass();
  for (let n = 1; n <= 300; n++) world.hosts.set(host(n), { value: hostOf(n), revision: 1 });
  for (let n = 1; n <= 600; n++) world.vms.set(id(n), { value: vm(n, on(Math.ceil(n / 2))), revision: 1 });
  for (let n = 0; n < 25_000; n++) world.write('people', vmChange(vm(1 + (n % 2), on(1))));
  await world.pass(60);
  assert.deepEqual([watch.findings.length, world.events.length], [200, 20]);
  watch.stop();
});

test('at 1,000 hosts and 20,000 VMs reading everything and judging changes is short turns', async (t) => {
  const world = new World();
  for (let n = 1; n <= 1_000; n++) world.hosts.set(host(n), { value: hostOf(n), revision: 1 });
  for (let n = 1; n <= 20_000; n++) {
    const phase = on(1 + (n % 1_000), Math.floor(n / 1_000));
    world.vms.set(id(n), { value: vm(n, phase), revision: 1 });
  }
  const clock = new StopwatchClock();
  const watch = world.start(clock);
  await clock.run(() => watch.isIdle);
  const loading = clock.take();
  // The records of 2,000 VMs change, ten at a time: as many as a leader writes while a large rack is recovered.
  for (let n = 1; n <= 2_000; n++) {
    const phase = on(1 + (n % 1_000), Math.floor(n / 1_000));
    world.write(TERM, vmChange(vm(n, phase, { intent: 'running' })));
  }
  await clock.run(() => watch.isIdle);
  const changes = clock.take();
  watch.stop();
  assert.deepEqual(watch.findings, []);
  for (const [what, turns] of [
    ['reading everything', loading],
    ['2,000 changes', changes],
  ] as const) {
    const sorted = [...turns].sort((a, b) => a - b);
    const total = turns.reduce((sum, ms) => sum + ms, 0);
    const at = (part: number): number => sorted[Math.ceil(sorted.length * part) - 1] ?? 0;
    const figures = `median ${at(0.5).toFixed(1)}, 95 % ${at(0.95).toFixed(1)}, longest ${at(1).toFixed(1)} ms`;
    t.diagnostic(`${what}: ${total.toFixed(0)} ms in ${turns.length} turns, ${figures}`);
    assert.ok(at(0.5) < 2 * TURN_MS && at(1) < 50, figures);
  }
});
