import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type HostName, parseVmId, type VmId } from '../../../base/ids.ts';
import { freshEstate } from '../../maintenance/testing/fresh-estate.ts';
import { ClusterIndex, footprintBytes } from '../../model/cluster-index.ts';
import type { DrainRecord } from '../../model/drain.ts';
import { keyOf } from '../../model/keys.ts';
import type { HostObservation } from '../../model/observation.ts';
import type { VmRecord } from '../../model/vm.ts';
import { host, hostRecord, incarnation, seenHost, vmRecord } from '../../plan/testing/sample-records.ts';
import type { Change, Commit, RequestSnapshot } from '../../ports/store.ts';
import { ManualClock, settled } from '../../ports/testing/manual-clock.ts';
import type { Basis, Observed } from '../../request/basis.ts';
import { cancelDrain, pauseDrain, startDrain, undrainHost } from '../../request/drains.ts';
import { returnVms } from '../../request/returns.ts';
import { MemoryStore } from '../testing/memory-store.ts';
import { DrainLoop } from './drain-loop.ts';

const vmId = (n: number): VmId => parseVmId(`vm-${n.toString(16).padStart(12, '0')}`);
const vm = (n: number, at: number, more: Partial<VmRecord> = {}): VmRecord =>
  vmRecord({ kind: 'running', incarnation: incarnation(1, at, n) }, { id: vmId(n), name: `vm${n}`, ...more });

/** Hosts with room for `room` VMs each, and a leader's drain loop. VMs move when a test says so. */
class World {
  readonly store = new MemoryStore();
  readonly clock = new ManualClock();
  readonly index = new ClusterIndex();
  readonly silent = new Set<HostName>();
  readonly dirty = new Map<VmId, number>();
  /** The error that looking at a host throws, and how often it did; null: none. */
  fault: string | null = null;
  faults = 0;
  #random = 0;
  readonly #estate = freshEstate(() => ({
    snapshot: this.store.snapshot,
    index: this.index,
    seeHost: (name) => this.#see(name),
  }));
  loop = this.#newLoop();

  constructor(hosts: number, room: number, vms: readonly VmRecord[]) {
    this.store.onChange(({ kind, id }) => {
      if (kind === 'vm') this.index.setVm(id as VmId, this.store.vms.get(id as VmId)?.value ?? null);
      if (kind === 'host') this.index.setHost(id as HostName, this.store.hosts.get(id as HostName)?.value ?? null);
      if (kind === 'drain')
        this.index.setDrain(id as DrainRecord['id'], this.store.drains.get(id as DrainRecord['id'])?.value ?? null);
      this.loop.wakeAll();
    });
    const memoryBytes = room * footprintBytes(vm(1, 1));
    for (let n = 1; n <= hosts; n++)
      this.store.put({
        kind: 'host',
        id: host(n),
        value: hostRecord(n, { capacity: { ...hostRecord(n).capacity, memoryBytes } }),
      });
    for (const each of vms) this.store.put({ kind: 'vm', id: each.id, value: each });
  }

  #newLoop(): DrainLoop {
    return new DrainLoop({
      clock: this.clock,
      log: { info: () => undefined, warn: () => undefined },
      store: this.store,
      index: this.index,
      randomHex: (bytes) => (++this.#random).toString(16).padStart(bytes * 2, '0'),
      seeHost: (name) => this.#see(name),
      seesRunning: ({ phase }) => phase.kind === 'running',
      dirtyRateOf: ({ id }) => this.dirty.get(id) ?? null,
      estate: this.#estate,
    });
  }

  #see(name: HostName): HostObservation {
    if (this.fault !== null) {
      this.faults++;
      throw new Error(this.fault);
    }
    return { ...seenHost(1), host: name, agent: this.silent.has(name) ? 'silent' : 'alive' };
  }

  /** Another control node leads. */
  succeed(): void {
    this.loop.stop();
    this.loop = this.#newLoop();
    this.loop.wakeAll();
  }

  request<T>(
    decide: (basis: Basis, observed: Observed) => { readonly changes: readonly Change[]; readonly result: T },
  ): T {
    const basis: Basis = {
      records: this.store.snapshot as RequestSnapshot,
      index: this.index,
      now: this.clock.wallMs(),
      randomHex: (bytes) => (++this.#random).toString(16).padStart(bytes * 2, '0'),
    };
    const observer = {
      see: (name: HostName) =>
        ({ ...seenHost(1), host: name, agent: this.silent.has(name) ? 'silent' : 'alive' }) as const,
    };
    const dirtyRates = { of: ({ id }: VmRecord) => this.dirty.get(id) ?? null };
    const { changes, result } = decide(basis, { observer, dirtyRates, estate: this.#estate } as Observed);
    for (const change of changes) this.store.put(change as never);
    return result;
  }

  drain(n: number): DrainRecord {
    const id = this.request((basis, observed) =>
      startDrain(basis, observed, { hosts: [host(n)], who: 'admin', parallel: 1 }),
    );
    return this.record(id);
  }

  record(id: DrainRecord['id']): DrainRecord {
    const entry = this.store.drains.get(id);
    if (entry === undefined) assert.fail(`no ${id}`);
    return entry.value;
  }

  /** Runs all work that waits for the next turn or for a time. */
  async pass(ms = 1_000): Promise<void> {
    await this.clock.advance(ms);
    await settled();
  }

  /** Carries out the migrations that were asked for. Returns what moved. */
  migrate(): string[] {
    const asked = [...this.store.vms.values()].flatMap(({ value }) => (value.migrationRequest === null ? [] : [value]));
    for (const each of asked) {
      const to = each.migrationRequest?.to ?? assert.fail('a drain names its hosts');
      const phase = { kind: 'running', incarnation: { ...incarnation(2), host: to, slot: 9 } } as const;
      this.store.put({ kind: 'vm', id: each.id, value: { ...each, phase, migrationRequest: null, pausesMs: [42] } });
    }
    return asked.map(({ name }) => name);
  }

  /** Lets the drain continue until it is over, at most for a minute. */
  async finish(id: DrainRecord['id']): Promise<DrainRecord> {
    for (let seconds = 0; seconds < 60 && this.record(id).endedAt === null; seconds++) {
      await this.pass();
      this.migrate();
    }
    return this.record(id);
  }
}

const requests = (commits: readonly Commit[]): string[] =>
  commits.flatMap(({ changes }) =>
    changes.flatMap((change) =>
      change.kind === 'vm' && change.value?.migrationRequest != null ? [change.value.name] : [],
    ),
  );

test('a host is emptied one VM after the other, is drained then, and goes back into service when somebody says so', async () => {
  const world = new World(3, 4, [vm(1, 1), vm(2, 1), vm(3, 2)]);
  const { id, moves } = world.drain(1);
  assert.equal(moves.length, 2);
  assert.equal(world.store.hosts.get(host(1))?.value.maintenance?.drain, id);
  const over = await world.finish(id);
  assert.equal(over.state, 'drained');
  assert.deepEqual(
    over.moves.map(({ state, measuredPauseMs }) => [state, measuredPauseMs]),
    [
      ['moved', 42],
      ['moved', 42],
    ],
  );
  assert.deepEqual(requests(world.store.commits).sort(), ['vm1', 'vm2']);
  assert.equal(world.store.tasks.get(over.taskId)?.value.state, 'succeeded');
  assert.deepEqual([...world.index.vmsOn(host(1))], []);
  world.request((basis) => undrainHost(basis, 'h1'));
  assert.equal(world.store.hosts.get(host(1))?.value.maintenance, null);
});

test('at most as many VMs move at once as was asked for', async () => {
  const world = new World(3, 8, [vm(1, 1), vm(2, 1), vm(3, 1)]);
  world.drain(1);
  await world.pass();
  await world.pass();
  assert.equal(requests(world.store.commits).length, 1);
});

test('a new leader goes on where the last one stopped, and moves nothing twice', async () => {
  const world = new World(3, 4, [vm(1, 1), vm(2, 1)]);
  const { id } = world.drain(1);
  await world.pass();
  world.migrate();
  world.succeed();
  await world.pass();
  world.succeed();
  assert.equal((await world.finish(id)).state, 'drained');
  assert.deepEqual(requests(world.store.commits).sort(), ['vm1', 'vm2']);
});

test('a target that goes away while the drain runs: the rest is planned anew, and said so', async () => {
  const world = new World(3, 4, [vm(1, 1), vm(2, 1), vm(3, 3)]);
  const { id, moves } = world.drain(1);
  const target = moves[0]?.to ?? assert.fail('no move');
  await world.pass();
  world.migrate();
  const record = world.store.hosts.get(target)?.value ?? assert.fail('no host');
  world.store.put({ kind: 'host', id: target, value: { ...record, cordoned: true } });
  const over = await world.finish(id);
  assert.equal(over.state, 'drained');
  assert.notEqual(over.moves.at(-1)?.to, target);
  assert.match(over.deviations.map(({ what }) => what).join(' '), /Planned anew/);
});

test('a plan for which the record has no room is not begun: the drain is paused', async () => {
  const world = new World(3, 4, [vm(1, 1), vm(2, 1)]);
  const { id, moves } = world.drain(1);
  const [move] = moves;
  if (move === undefined) assert.fail('no move');
  const over = Array.from({ length: 1_000 }, (_, n) => ({ ...move, id: n, state: 'moved' as const, endedAt: 0 }));
  world.store.put({ kind: 'drain', id, value: { ...world.record(id), moves: over } });
  for (let seconds = 0; seconds < 3; seconds++) await world.pass();
  assert.equal(world.record(id).state, 'paused');
  assert.match(world.record(id).stuck ?? '', /would have 1002 moves, and takes 1000\. .* gp maintenance cancel drain-/);
  assert.deepEqual(requests(world.store.commits), []);
});

test('where no host has room any more, the drain says so, waits, and goes on once there is room', async () => {
  const world = new World(2, 2, [vm(1, 1), vm(2, 1)]);
  const { id } = world.drain(1);
  await world.pass();
  world.migrate();
  // Somebody else fills the target, past the claim.
  world.store.put({ kind: 'vm', id: vmId(9), value: vm(9, 2) });
  for (let seconds = 0; seconds < 8; seconds++) await world.pass();
  assert.match(world.record(id).stuck ?? '', /No host can take vm/);
  assert.equal(world.record(id).state, 'running');
  world.store.put({ kind: 'vm', id: vmId(9), value: null });
  assert.equal((await world.finish(id)).state, 'drained');
});

test('what is refused changes nothing and names what stands in the way', () => {
  const world = new World(2, 2, [vm(1, 1), vm(2, 2), vm(3, 2)]);
  assert.throws(() => world.drain(1), { code: 'no-capacity', message: /no host can take vm1/ });
  assert.equal(world.store.drains.size, 0);
  assert.throws(() => world.drain(7), { code: 'not-found' });
});

test('two drains at once: neither leaves a VM on the host of the other, and each keeps what the other was promised', async () => {
  const world = new World(4, 3, [vm(1, 1), vm(2, 1), vm(3, 2), vm(4, 2)]);
  const first = world.drain(1);
  const second = world.drain(2);
  assert.throws(() => world.drain(1), { code: 'conflict', message: /being drained already/ });
  for (const { id } of [first, second]) assert.equal((await world.finish(id)).state, 'drained');
  // The first was planned while the other host was in service.
  assert.deepEqual(
    [host(1), host(2)].flatMap((name) => [...world.index.vmsOn(name)]),
    [],
  );
});

/** A VM on its way between hosts; `land` ends its way. */
function flying(
  n: number,
  from: number,
  to: number,
): { readonly record: VmRecord; readonly land: (world: World) => void } {
  const pair = { source: incarnation(1, from, n), destination: incarnation(2, to, n) };
  const phase = { kind: 'migrating', ...pair, taskId: null, deadlineAt: 600_000 } as const;
  const record = vm(n, from, { phase });
  const landed = { ...record, phase: { kind: 'running', incarnation: pair.destination } } as const;
  return { record, land: (world) => world.store.put({ kind: 'vm', id: record.id, value: landed }) };
}

test('a VM on its way to the host is waited for, which record and task say, and moves on once it has arrived', async () => {
  const coming = flying(2, 3, 1);
  const world = new World(3, 4, [vm(1, 1), coming.record]);
  const { id, moves } = world.drain(1);
  assert.deepEqual(moves.map(({ name, from }) => `${name} ${from}`).sort(), ['vm1 h1', 'vm2 h1']);
  for (let seconds = 0; seconds < 5; seconds++) {
    await world.pass();
    world.migrate();
  }
  const waiting = world.record(id);
  assert.equal(waiting.waits?.what, 'Waits for VM vm2, which is arriving from h3.');
  const task = () => world.store.tasks.get(waiting.taskId)?.value;
  assert.equal(task()?.message, 'Draining h1. Waits for VM vm2, which is arriving from h3.');
  assert.equal(task()?.progressPercent, 50);
  const before = world.store.commits.length;
  for (let seconds = 0; seconds < 60; seconds++) await world.pass();
  assert.equal(world.store.commits.length, before, 'nothing is written while nothing changes');
  coming.land(world);
  const over = await world.finish(id);
  assert.deepEqual([over.state, over.waits], ['drained', null]);
  assert.deepEqual(requests(world.store.commits).sort(), ['vm1', 'vm2']);
});

test('a VM that never arrives: after a quarter of an hour the drain is paused, and goes on when somebody says so', async () => {
  const coming = flying(2, 3, 1);
  const world = new World(3, 4, [coming.record]);
  const { id } = world.drain(1);
  for (let minutes = 0; minutes < 14; minutes++) await world.pass(60_000);
  assert.equal(world.record(id).state, 'running');
  for (let minutes = 0; minutes < 3; minutes++) await world.pass(60_000);
  assert.equal(world.record(id).state, 'paused');
  assert.match(world.record(id).stuck ?? '', /Nothing could be moved for 15 min: Waits for VM vm2/);
  coming.land(world);
  world.request((basis) => pauseDrain(basis, id, false));
  assert.equal((await world.finish(id)).state, 'drained');
});

test('two drains at once whose VMs are on their way to each other’s hosts both end', async () => {
  const [there, back] = [flying(1, 1, 2), flying(2, 2, 1)];
  const world = new World(4, 4, [there.record, back.record, vm(3, 1), vm(4, 2)]);
  const drains = [world.drain(1), world.drain(2)];
  for (let seconds = 0; seconds < 4; seconds++) await world.pass();
  for (const { land } of [there, back]) land(world);
  for (const { id } of drains) assert.equal((await world.finish(id)).state, 'drained');
  assert.deepEqual(
    [host(1), host(2)].flatMap((name) => [...world.index.vmsOn(name)]),
    [],
  );
});

test('a drain is paused, goes on, and is cancelled: what has moved stays, and the host is in service again', async () => {
  const world = new World(3, 4, [vm(1, 1), vm(2, 1)]);
  const { id } = world.drain(1);
  world.request((basis) => pauseDrain(basis, id, true));
  await world.pass();
  assert.deepEqual(requests(world.store.commits), []);
  world.request((basis) => pauseDrain(basis, id, false));
  await world.pass();
  world.request((basis) => cancelDrain(basis, id));
  await world.pass();
  assert.equal(world.record(id).state, 'cancelling');
  const [moved] = world.migrate();
  const over = await world.finish(id);
  assert.equal(over.state, 'cancelled');
  assert.deepEqual(
    over.moves.flatMap(({ name, state }) => (state === 'moved' ? [name] : [])),
    [moved],
  );
  assert.equal(world.store.hosts.get(host(1))?.value.maintenance, null);
  assert.equal(world.store.tasks.get(over.taskId)?.value.state, 'cancelled');
  assert.throws(() => world.request((basis) => cancelDrain(basis, id)), { code: 'conflict' });
});

test('a host whose agent is silent is drained all the same', async () => {
  const world = new World(3, 4, [vm(1, 1)]);
  world.silent.add(host(1));
  assert.equal((await world.finish(world.drain(1).id)).state, 'drained');
});

/** Etcd holds at the host's key what is no record: the index keeps what was read last. */
function spoil(world: World, n: number): () => void {
  const entry = world.store.hosts.get(host(n)) ?? assert.fail('no host');
  const key = keyOf.host(host(n));
  world.store.hosts.delete(host(n));
  world.store.unreadable.set(key, 'is no record');
  world.store.lastReadable.set(key, entry.value);
  world.loop.wakeAll();
  return () => {
    world.store.unreadable.delete(key);
    world.store.lastReadable.delete(key);
    world.store.put({ kind: 'host', id: host(n), value: entry.value });
  };
}

test('a record of a host that cannot be read is no target; of the host itself, the drain says so and goes on once it can', async () => {
  const world = new World(3, 4, [vm(1, 1), vm(2, 1), vm(3, 3)]);
  const { id, moves } = world.drain(1);
  const target = moves[0]?.to ?? assert.fail('no move');
  const mend = spoil(world, Number(target.slice(1)));
  for (let seconds = 0; seconds < 4; seconds++) await world.pass();
  assert.notEqual(world.record(id).moves.find(({ state }) => state !== 'gone')?.to, target);
  mend();
  const mendOwn = spoil(world, 1);
  for (let seconds = 0; seconds < 4; seconds++) await world.pass();
  assert.match(world.record(id).stuck ?? '', /What etcd holds at .gp.host.h1 is no record/);
  assert.throws(() => world.drain(1), { code: 'conflict', message: /What etcd holds at/ });
  const before = world.store.commits.length;
  for (let seconds = 0; seconds < 30; seconds++) await world.pass();
  assert.ok(world.store.commits.length - before <= 2, 'nothing is written while nothing changes');
  mendOwn();
  assert.equal((await world.finish(id)).state, 'drained');
  assert.equal(world.record(id).stuck, null);
});

test('a step that fails again and again is said in the record, rarer and rarer, and at last the drain is paused', async () => {
  const world = new World(3, 4, [vm(1, 1)]);
  const { id } = world.drain(1);
  world.fault = 'the planner has a fault';
  for (let seconds = 0; seconds < 10; seconds++) await world.pass();
  assert.match(world.record(id).stuck ?? '', /A step failed, and is tried again: the planner has a fault/);
  const early = world.faults;
  assert.ok(early <= 5, `${early} attempts in 10 s`);
  // Changes of others do not make it try more often.
  for (let n = 0; n < 20; n++) world.loop.wakeAll();
  await settled();
  assert.equal(world.faults, early);
  for (let minutes = 0; minutes < 5; minutes++) await world.pass(60_000);
  assert.equal(world.record(id).state, 'paused');
  assert.match(world.record(id).stuck ?? '', /Paused: 10 steps in a row failed: the planner has a fault/);
  assert.deepEqual(requests(world.store.commits), []);
  world.fault = null;
  world.request((basis) => pauseDrain(basis, id, false));
  assert.equal((await world.finish(id)).state, 'drained');
});

test('transactions that others are faster than are tried again after longer and longer times', async () => {
  const world = new World(3, 4, [vm(1, 1)]);
  const { id } = world.drain(1);
  const before = world.store.commits.length;
  world.store.results.push(...Array.from({ length: 8 }, () => 'conflict' as const));
  await world.pass(1_000);
  assert.ok(world.store.commits.length - before <= 6, `${world.store.commits.length - before} in a second`);
  await world.pass(30_000);
  assert.equal((await world.finish(id)).state, 'drained');
});

/** A VM that writes faster than it is copied, and may be stopped for that. */
function stoppable(n: number, at: number): VmRecord {
  const record = vm(n, at);
  return { ...record, spec: { ...record.spec, migrationPolicy: { slowDown: false, pauseMsMax: null, stop: true } } };
}

/** Carries out stops and starts that were asked for: a start goes to `to`. */
function power(world: World, to: HostName): void {
  for (const { value } of [...world.store.vms.values()]) {
    if (value.stopRequest !== null)
      world.store.put({ kind: 'vm', id: value.id, value: { ...value, phase: { kind: 'stopped' }, stopRequest: null } });
    else if (value.phase.kind === 'stopped' && value.intent === 'running') {
      const phase = { kind: 'running', incarnation: { ...incarnation(2), host: to, slot: 9 } } as const;
      world.store.put({ kind: 'vm', id: value.id, value: { ...value, phase } });
    }
  }
}

test('a fast writer whose owner allows it is stopped and started elsewhere, once, whoever leads and whatever is cancelled', async () => {
  const world = new World(3, 4, [stoppable(1, 1)]);
  world.dirty.set(vmId(1), 5_000);
  const { id, moves } = world.drain(1);
  assert.deepEqual([moves[0]?.remedy, moves[0]?.dirtyMibPerSecond], ['stop', 5_000]);
  await world.pass();
  assert.equal(world.store.vms.get(vmId(1))?.value.intent, 'stopped');
  world.succeed();
  world.dirty.clear();
  world.request((basis) => cancelDrain(basis, id));
  power(world, host(2));
  await world.pass();
  assert.equal(world.store.vms.get(vmId(1))?.value.intent, 'running');
  assert.equal(world.record(id).state, 'cancelling', 'it is not left stopped');
  power(world, host(2));
  const over = await world.finish(id);
  assert.deepEqual([over.state, over.moves[0]?.state], ['cancelled', 'moved']);
  assert.deepEqual(requests(world.store.commits), []);
});

test('a VM that its owner stops while it starts elsewhere stays stopped', async () => {
  const world = new World(3, 4, [stoppable(1, 1)]);
  world.dirty.set(vmId(1), 5_000);
  const { id } = world.drain(1);
  await world.pass();
  power(world, host(2));
  await world.pass();
  const started = world.store.vms.get(vmId(1))?.value ?? assert.fail('no VM');
  world.store.put({ kind: 'vm', id: vmId(1), value: { ...started, intent: 'stopped' } });
  assert.equal((await world.finish(id)).moves[0]?.state, 'gone');
  assert.equal(world.store.vms.get(vmId(1))?.value.intent, 'stopped');
});

test('a fast writer whose owner allows nothing is named before anything moves', () => {
  const held = stoppable(1, 1);
  const policy = { slowDown: false, pauseMsMax: null, stop: false };
  const world = new World(3, 4, [{ ...held, spec: { ...held.spec, migrationPolicy: policy } }, vm(2, 1)]);
  world.dirty.set(vmId(1), 5_000);
  assert.throws(() => world.drain(1), { code: 'no-capacity', advice: /vm1 writes 5000 MiB a second/ });
  assert.equal(world.store.drains.size, 0);
});

test('a deadline: a plan that does not fit is refused, and what would end too late does not begin until somebody resumes', async () => {
  const world = new World(3, 4, [vm(1, 1), vm(2, 1)]);
  const start = (by: number) =>
    world.request((basis, observed) =>
      startDrain(basis, observed, { hosts: [host(1)], who: 'admin', parallel: 1, by: basis.now + by }),
    );
  assert.throws(() => start(1_000), { code: 'conflict', message: /would end at about .* its deadline is/ });
  const id = start(24 * 3_600_000);
  const { by = null } = world.record(id);
  await world.pass();
  world.migrate();
  // With another clock, or a slow first move, the second move would end too late.
  world.store.put({ kind: 'drain', id, value: { ...world.record(id), by: world.clock.wallMs() + 1_000 } });
  for (let seconds = 0; seconds < 5; seconds++) await world.pass();
  assert.equal(world.record(id).state, 'paused');
  assert.match(world.record(id).stuck ?? '', /Its deadline .* has come: vm[12] would move too late/);
  assert.equal(world.store.events.at(-1)?.kind, 'drain-late');
  assert.equal(requests(world.store.commits).length, 1);
  world.request((basis) => pauseDrain(basis, id, false));
  assert.deepEqual([world.record(id).by, by === null], [null, false]);
  assert.equal((await world.finish(id)).state, 'drained');
});

test('what a drain moved away is brought back, once; the host takes part in it as any other', async () => {
  const world = new World(3, 4, [vm(1, 1), vm(2, 1), vm(3, 2)]);
  const drained = await world.finish(world.drain(1).id);
  const back = (): DrainRecord['id'] =>
    world.request((basis, observed) => returnVms(basis, observed, { host: 'h1', who: 'admin' }));
  assert.throws(back, { code: 'conflict' }, 'it is in maintenance');
  world.request((basis) => undrainHost(basis, 'h1'));
  const begun = back();
  assert.throws(back, { code: 'conflict', message: /being brought back to h1 already/ });
  const over = await world.finish(begun);
  assert.deepEqual([over.state, over.home], ['returned', host(1)]);
  assert.deepEqual([...world.index.vmsOn(host(1))].sort(), drained.moves.map((move) => move.vm).sort());
  assert.equal(world.store.tasks.get(over.taskId)?.value.state, 'succeeded');
  assert.throws(back, { code: 'conflict', message: /Nothing can be brought back to h1/ });
});

test('a return whose host is drained by somebody else meanwhile ends, and leaves the rest where it is', async () => {
  const world = new World(3, 4, [vm(1, 1), vm(2, 1)]);
  await world.finish(world.drain(1).id);
  world.request((basis) => undrainHost(basis, 'h1'));
  const id = world.request((basis, observed) => returnVms(basis, observed, { host: 'h1', who: 'admin', parallel: 1 }));
  await world.pass();
  const record = world.store.hosts.get(host(1))?.value ?? assert.fail('no host');
  world.store.put({ kind: 'host', id: host(1), value: { ...record, cordoned: true } });
  const over = await world.finish(id);
  assert.equal(over.state, 'returned');
  assert.equal(over.moves.filter(({ state }) => state === 'moved').length, 1);
  assert.match(over.deviations.map(({ what }) => what).join(' '), /stays: h1 does not suit it/);
});

test('the drain of a host that is lost moves nothing: its VMs are restarted elsewhere, and it ends when it is empty', async () => {
  const world = new World(3, 4, [vm(1, 1), vm(2, 1)]);
  const record = world.store.hosts.get(host(1))?.value ?? assert.fail('no host');
  const quarantine = { since: 0, reason: 'lost with vm1' };
  world.store.put({ kind: 'host', id: host(1), value: { ...record, quarantine } });
  world.silent.add(host(1));
  const { id, moves } = world.drain(1);
  assert.deepEqual(moves, []);
  for (let seconds = 0; seconds < 6; seconds++) await world.pass();
  assert.equal(world.record(id).state, 'running');
  assert.match(world.record(id).waits?.what ?? '', /^h1 is lost: its VMs are restarted elsewhere/);
  for (const n of [1, 2]) world.store.put({ kind: 'vm', id: vmId(n), value: vm(n, 2) });
  assert.equal((await world.finish(id)).state, 'drained');
  assert.deepEqual(requests(world.store.commits), []);
});
