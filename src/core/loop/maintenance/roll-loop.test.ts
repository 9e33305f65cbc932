import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type HostName, parseVmId, type RollId, type VmId } from '../../../base/ids.ts';
import { planOfRecord } from '../../maintenance/approved-plan.ts';
import { approvedText, approvedWave } from '../../maintenance/approved-text.ts';
import { estateOf } from '../../maintenance/estate-records.ts';
import { modelOf } from '../../maintenance/model.ts';
import { planRoll } from '../../maintenance/roll.ts';
import { freshEstate } from '../../maintenance/testing/fresh-estate.ts';
import { ClusterIndex, footprintBytes } from '../../model/cluster-index.ts';
import type { DrainRecord } from '../../model/drain.ts';
import { keyOf } from '../../model/keys.ts';
import type { HostObservation } from '../../model/observation.ts';
import { isRollOver, type RollHost, type RollRecord, type RollStep } from '../../model/roll.ts';
import type { VmRecord } from '../../model/vm.ts';
import {
  guestClusterRecord,
  host,
  hostRecord,
  incarnation,
  seenHost,
  vmRecord,
} from '../../plan/testing/sample-records.ts';
import type { Change, RequestSnapshot } from '../../ports/store.ts';
import { ManualClock, settled } from '../../ports/testing/manual-clock.ts';
import type { Basis, Observed } from '../../request/basis.ts';
import { cancelDrain, pauseDrain, undrainHost } from '../../request/drains.ts';
import { LEASE_MS, reportWork } from '../../request/roll-work.ts';
import { abortRoll, pauseRoll, type RollRequest, startRoll } from '../../request/rolls.ts';
import { MemoryStore } from '../testing/memory-store.ts';
import { DrainLoop } from './drain-loop.ts';
import { RollLoop } from './roll-loop.ts';

const vmId = (n: number): VmId => parseVmId(`vm-${n.toString(16).padStart(12, '0')}`);
const vm = (n: number, at: number, more: Partial<VmRecord> = {}): VmRecord =>
  vmRecord({ kind: 'running', incarnation: incarnation(1, at, n) }, { id: vmId(n), name: `vm${n}`, ...more });
const HASH = 'a'.repeat(64);

/**
 * Hosts with room for `room` VMs each, a leader's loops, and people whose commands succeed unless the test says
 * otherwise.
 */
class World {
  readonly store = new MemoryStore();
  readonly clock = new ManualClock();
  readonly index = new ClusterIndex();
  readonly silent = new Set<HostName>();
  /** The commands that were begun, in order. */
  readonly ran: string[] = [];
  /** Steps that fail, as `run h1`. */
  readonly failing = new Set<string>();
  /** The longest list of hosts that were in maintenance at once. */
  away = 0;
  #random = 0;
  readonly #estate = freshEstate(() => ({
    snapshot: this.store.snapshot,
    index: this.index,
    seeHost: (name) => this.see(name),
  }));
  drains = this.#newDrains();
  rolls = this.#newRolls();

  constructor(hosts: number, room: number, vms: readonly VmRecord[]) {
    this.store.onChange(({ kind, id }) => {
      if (kind === 'vm') this.index.setVm(id as VmId, this.store.vms.get(id as VmId)?.value ?? null);
      if (kind === 'host') this.index.setHost(id as HostName, this.store.hosts.get(id as HostName)?.value ?? null);
      if (kind === 'drain')
        this.index.setDrain(id as DrainRecord['id'], this.store.drains.get(id as DrainRecord['id'])?.value ?? null);
      this.away = Math.max(this.away, this.#awayNow());
      this.drains.wakeAll();
      this.rolls.wakeAll();
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

  #awayNow(): number {
    return [...this.store.hosts.values()].filter(({ value }) => (value.maintenance ?? null) !== null).length;
  }

  #ports() {
    return {
      clock: this.clock,
      log: { info: () => undefined, warn: () => undefined },
      store: this.store,
      index: this.index,
      randomHex: (bytes: number) => (++this.#random).toString(16).padStart(bytes * 2, '0'),
      seeHost: (name: HostName) => this.see(name),
      dirtyRateOf: () => null,
      estate: this.#estate,
    };
  }

  #newDrains(): DrainLoop {
    return new DrainLoop({ ...this.#ports(), seesRunning: ({ phase }) => phase.kind === 'running' });
  }

  #newRolls(): RollLoop {
    return new RollLoop(this.#ports());
  }

  see(name: HostName): HostObservation {
    return { ...seenHost(1), host: name, agent: this.silent.has(name) ? 'silent' : 'alive' };
  }

  /** Another control node leads. */
  succeed(): void {
    this.drains.stop();
    this.rolls.stop();
    this.drains = this.#newDrains();
    this.rolls = this.#newRolls();
    this.drains.wakeAll();
    this.rolls.wakeAll();
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
    const observer = { see: (name: HostName) => this.see(name) };
    const { changes, result } = decide(basis, { observer } as Observed);
    for (const change of changes) this.store.put(change as never);
    return result;
  }

  plan(hosts: readonly number[], maxUnavailable: number): string {
    const source = {
      snapshot: this.store.snapshot,
      index: this.index,
      seeHost: (name: HostName) => this.see(name),
      dirtyRateOf: () => null,
    };
    const outcome = planRoll(modelOf(estateOf(source, { drain: null, parallel: 1 })), {
      ...{ hosts: hosts.map(host), maxUnavailable, perRack: null, releaseAfter: null },
    });
    if (outcome.kind === 'refused') assert.fail(JSON.stringify(outcome));
    return approvedText({ maxUnavailable, perRack: null, parallel: 1, waves: outcome.waves.map(approvedWave) });
  }

  roll(hosts: readonly number[], more: Partial<RollRequest> & { readonly approved?: string } = {}): RollId {
    const { approved = HASH, ...rest } = more;
    const request = { plan: this.plan(hosts, more.maxUnavailable ?? 1), who: 'admin', ...rest };
    return this.request((basis, observed) => startRoll(basis, observed, { request, hash: HASH, approved }));
  }

  record(id: RollId): RollRecord {
    const entry = this.store.rolls.get(id);
    if (entry === undefined) assert.fail(`no ${id}`);
    return entry.value;
  }

  hostOf(id: RollId, n: number): RollHost {
    return this.record(id).hosts.find((each) => each.host === host(n)) ?? assert.fail('no host');
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

  /** People's commands: each begins and ends at once. */
  work(id: RollId, by = 'gp:1'): void {
    for (const { host: name, state, work, done } of this.record(id).hosts) {
      if ((state !== 'pre' && state !== 'run' && state !== 'verify') || work !== null) continue;
      if (state === 'verify' && done.at(-1)?.succeeded === true && done.at(-1)?.step === 'verify') continue;
      try {
        this.report(id, { host: name, step: state, by, outcome: 'begun' });
      } catch {
        continue;
      }
      this.ran.push(`${state} ${name}`);
      const outcome = this.failing.has(`${state} ${name}`) ? 'failed' : 'succeeded';
      this.report(id, { host: name, step: state, by, outcome });
    }
  }

  report(
    id: RollId,
    report: { host: string; step: RollStep; by: string; outcome: 'begun' | 'succeeded' | 'failed' },
  ): void {
    this.request((basis) => reportWork(basis, id, report));
  }

  /** Lets the roll continue until it is over or `isDone`, at most for this many seconds. Returns the moves. */
  async run(id: RollId, { seconds = 300, isDone = (): boolean => false } = {}): Promise<string[]> {
    const moved: string[] = [];
    for (let second = 0; second < seconds && !isRollOver(this.record(id)) && !isDone(); second++) {
      await this.pass();
      moved.push(...this.migrate());
      this.work(id);
    }
    return moved;
  }

  states(id: RollId): string[] {
    return this.record(id).hosts.map(({ host: name, state }) => `${name} ${state}`);
  }
}

const COMMANDS = { commands: { pre: 'pre {host}', run: 'patch {host}', verify: 'check {host}' } };
const threeBusy = (): World => new World(3, 4, [vm(1, 1), vm(2, 1), vm(3, 2), vm(4, 3)]);

describe('a roll', () => {
  test('empties each host, has the commands run in order, takes it back, and ends', async () => {
    const world = threeBusy();
    const id = world.roll([1, 2, 3], COMMANDS);
    await world.run(id);
    assert.equal(world.record(id).state, 'completed', JSON.stringify(world.record(id)));
    assert.deepEqual(world.states(id).sort(), ['h1 done', 'h2 done', 'h3 done']);
    for (const { host: name } of world.record(id).hosts) {
      const own = world.ran.filter((each) => each.endsWith(name));
      assert.deepEqual(own, [`pre ${name}`, `run ${name}`, `verify ${name}`]);
      assert.equal(world.store.hosts.get(name)?.value.maintenance, null);
    }
    assert.equal(world.away, 1);
    assert.deepEqual(world.record(id).deviations, []);
    assert.equal(
      [...world.store.tasks.values()].find(({ value }) => value.target.name === id)?.value.state,
      'succeeded',
    );
    assert.deepEqual(
      [...world.store.drains.values()].map(({ value }) => [value.state, value.roll, value.who]),
      [1, 2, 3].map(() => ['drained', id, 'admin']),
    );
  });

  test('without commands only empties hosts and takes them back', async () => {
    const world = threeBusy();
    const id = world.roll([1, 2]);
    await world.run(id);
    assert.deepEqual([world.record(id).state, world.ran], ['completed', []]);
  });

  test('goes on under one new leader after the other, and moves nothing twice', async () => {
    const world = threeBusy();
    const id = world.roll([1, 2, 3], COMMANDS);
    const moved: string[] = [];
    for (let turn = 0; turn < 300 && !isRollOver(world.record(id)); turn++) {
      await world.pass(1_000);
      if (turn % 7 === 0) world.succeed();
      moved.push(...world.migrate());
      world.work(id);
    }
    assert.equal(world.record(id).state, 'completed');
    assert.equal(world.away, 1);
    const planned = [...world.store.drains.values()].flatMap(({ value }) => value.moves.map(({ name }) => name));
    assert.deepEqual(moved.sort(), planned.sort());
    assert.equal(world.ran.length, 9, world.ran.join());
  });

  test('is refused with another plan than the approved one, over a host that is down, and over hosts of another', () => {
    const world = threeBusy();
    assert.throws(() => world.roll([1], { approved: 'b'.repeat(64) }), { code: 'conflict', message: /was approved/ });
    world.silent.add(host(3));
    assert.throws(() => world.roll([1]), { code: 'conflict', message: /Down, and not in maintenance: h3/ });
    world.silent.clear();
    const id = world.roll([1, 2]);
    assert.throws(() => world.roll([2, 3]), { code: 'conflict', message: new RegExp(`${id}.*has h2 already`) });
    world.roll([3]);
  });

  test('of two that were admitted at once, the later one ends without having begun', async () => {
    const world = threeBusy();
    const first = world.roll([1, 2]);
    const twin = { ...world.record(first), id: 'roll-ffffffffffff' as RollId };
    world.store.put({ kind: 'roll', id: twin.id, value: twin });
    const plan = world.store.rollPlans.get(first)?.value ?? assert.fail('no plan');
    world.store.put({ kind: 'roll-plan', id: twin.id, value: { ...plan, id: twin.id } });
    world.rolls.wakeAll();
    await world.pass();
    assert.deepEqual([world.record(twin.id).state, world.away <= 1], ['aborted', true]);
  });

  test('begins nothing while a host is down that nobody took down, and goes on when it is back', async () => {
    const world = threeBusy();
    const id = world.roll([1, 2], COMMANDS);
    world.silent.add(host(3));
    await world.run(id, { seconds: 20 });
    assert.deepEqual(world.states(id), ['h2 waiting', 'h1 waiting']);
    assert.match(world.record(id).held ?? '', /Down, and not in maintenance: h3/);
    world.silent.clear();
    await world.run(id);
    assert.equal(world.record(id).state, 'completed');
  });

  test('its work may take the host away: it goes on when the agent answers, or fails at its deadline', async () => {
    const world = threeBusy();
    const id = world.roll([1, 2], { commands: { run: 'reboot' }, backMs: 60_000 });
    await world.run(id, { isDone: () => world.hostOf(id, 2).state === 'back' });
    world.silent.add(host(2));
    await world.run(id, { seconds: 30 });
    assert.equal(world.hostOf(id, 2).state, 'back');
    world.silent.clear();
    await world.run(id, { isDone: () => world.hostOf(id, 1).state === 'back' });
    world.silent.add(host(1));
    await world.run(id, { seconds: 70 });
    assert.equal(world.hostOf(id, 1).state, 'failed');
    assert.match(world.hostOf(id, 1).note ?? '', /did not answer within 1 min/);
  });
});

describe('a roll that meets a failure', () => {
  test('stops, keeps the host in maintenance, and tries it again where it is told to', async () => {
    const world = threeBusy();
    const id = world.roll([1, 2, 3], COMMANDS);
    const first = world.record(id).hosts[0]?.host ?? assert.fail('no host');
    world.failing.add(`run ${first}`);
    await world.run(id, { seconds: 40 });
    assert.deepEqual([world.record(id).state, world.record(id).hosts[0]?.state], ['paused', 'failed']);
    assert.match(world.record(id).held ?? '', new RegExp(`${first} has failed`));
    assert.notEqual(world.store.hosts.get(first)?.value.maintenance, null);
    world.failing.clear();
    world.request((basis) => pauseRoll(basis, id, { isPaused: false, isRetry: true }));
    await world.run(id);
    assert.deepEqual([world.record(id).state, world.away], ['completed', 1]);
  });

  test('goes on where it is told to, with no more hosts away than may be', async () => {
    const world = new World(4, 4, [vm(1, 1), vm(2, 2), vm(3, 3), vm(4, 4)]);
    const id = world.roll([1, 2, 3, 4], { ...COMMANDS, onFailure: 'continue', maxUnavailable: 2 });
    const first = world.record(id).hosts[0]?.host ?? assert.fail('no host');
    world.failing.add(`verify ${first}`);
    await world.run(id);
    assert.equal(world.record(id).state, 'completed');
    assert.equal(world.record(id).hosts.filter(({ state }) => state === 'done').length, 3);
    assert.equal(world.away, 2);
    assert.match(world.record(id).deviations[0]?.what ?? '', /"verify" failed/);
    // With one host away for good and no other allowed, the roll says what to do.
    const one = new World(3, 4, [vm(1, 1)]);
    const stuck = one.roll([1, 2, 3], { ...COMMANDS, onFailure: 'continue' });
    const begun = one.record(stuck).hosts[0]?.host ?? assert.fail('no host');
    one.failing.add(`run ${begun}`);
    await one.run(stuck, { seconds: 40 });
    assert.match(one.record(stuck).held ?? '', new RegExp(`Take back ${begun} \\(gp host undrain\\)`));
    one.request((basis) => undrainHost(basis, begun));
    await one.run(stuck);
    assert.equal(one.record(stuck).state, 'completed');
  });
});

describe('people and a roll', () => {
  test('a pause holds its drain too; an abort takes back what was not worked on', async () => {
    const world = threeBusy();
    const id = world.roll([1, 2, 3], COMMANDS);
    await world.run(id, { isDone: () => world.states(id).some((each) => each.endsWith('draining')) });
    world.request((basis) => pauseRoll(basis, id, { isPaused: true }));
    await world.pass();
    const drain = [...world.store.drains.values()][0]?.value ?? assert.fail('no drain');
    assert.equal(drain.state, 'paused');
    assert.throws(() => world.request((basis) => pauseDrain(basis, drain.id, false)), { message: /is a wave of/ });
    assert.throws(() => world.request((basis) => cancelDrain(basis, drain.id)), { message: /is a wave of/ });
    world.request((basis) => pauseRoll(basis, id, { isPaused: false }));
    await world.pass();
    // The roll does not resume a drain that is stuck.
    const open = world.store.drains.get(drain.id)?.value ?? assert.fail('no drain');
    assert.equal(open.state, 'running');
    world.store.put({
      kind: 'drain',
      id: open.id,
      value: { ...open, state: 'paused', stuck: 'Nothing could be moved.' },
    });
    await world.pass();
    assert.equal(world.store.drains.get(open.id)?.value.state, 'paused');
    world.request((basis) => pauseDrain(basis, open.id, false));
    await world.run(id, { isDone: () => world.ran.some((each) => each.startsWith('run')) });
    const busy = drain.hosts[0] ?? assert.fail('no host');
    assert.throws(() => world.request((basis) => undrainHost(basis, busy)), { message: /is in roll-/ });
    world.request((basis) => abortRoll(basis, id));
    await world.run(id);
    assert.equal(world.record(id).state, 'aborted');
    assert.equal(world.record(id).hosts.filter(({ state }) => state === 'done').length, 1);
    assert.equal(
      [...world.store.hosts.values()].every(({ value }) => (value.maintenance ?? null) === null),
      true,
    );
  });

  test('an abort before the work on an empty host begins takes it back untouched', async () => {
    const world = threeBusy();
    const id = world.roll([1, 2], { commands: { run: 'patch' } });
    for (let second = 0; second < 60 && !world.states(id).some((each) => each.endsWith('run')); second++) {
      await world.pass();
      world.migrate();
    }
    world.request((basis) => abortRoll(basis, id));
    await world.pass();
    await world.pass();
    assert.deepEqual([world.record(id).state, world.ran], ['aborted', []]);
    assert.equal(
      [...world.store.hosts.values()].every(({ value }) => (value.maintenance ?? null) === null),
      true,
    );
  });

  test('work belongs to who began it, until nothing was heard for a minute', async () => {
    const world = threeBusy();
    const id = world.roll([1], { commands: { run: 'patch' } });
    for (let second = 0; second < 60 && world.hostOf(id, 1).state !== 'run'; second++) {
      await world.pass();
      world.migrate();
    }
    const run = { host: 'h1', step: 'run' } as const;
    assert.throws(() => world.report(id, { ...run, by: 'a', outcome: 'succeeded' }), { message: /does not do/ });
    world.report(id, { ...run, by: 'a', outcome: 'begun' });
    assert.throws(() => world.report(id, { ...run, by: 'b', outcome: 'begun' }), {
      message: /a is running "run" on h1/,
    });
    await world.pass(LEASE_MS - 1_000);
    world.report(id, { ...run, by: 'a', outcome: 'begun' });
    await world.pass(LEASE_MS - 1_000);
    assert.throws(() => world.report(id, { ...run, by: 'b', outcome: 'begun' }), { message: /a is running "run"/ });
    await world.pass(2_000);
    world.report(id, { ...run, by: 'b', outcome: 'begun' });
    assert.match(world.record(id).deviations.at(-1)?.what ?? '', /a began "run" and did not report again; b begins/);
    assert.throws(() => world.report(id, { ...run, by: 'a', outcome: 'succeeded' }), { message: /a does not do/ });
    assert.throws(() => world.report(id, { ...run, step: 'verify', by: 'b', outcome: 'begun' }), {
      message: /in "run"/,
    });
    world.report(id, { ...run, by: 'b', outcome: 'succeeded' });
    await world.run(id);
    assert.equal(world.record(id).state, 'completed');
  });
});

describe('a window', () => {
  const HOUR_MS = 3_600_000;

  test('nothing begins outside it: no host, no move, no work; a wave that does not fit waits for the next', async () => {
    const world = threeBusy();
    // The clock begins at an arbitrary hour: windows are laid around it.
    const now = new Date(world.clock.wallMs());
    const hour = (n: number): string => `${String((now.getUTCHours() + n + 24) % 24).padStart(2, '0')}:00`;
    const windows = [`Mon-Sun ${hour(2)}-${hour(4)} UTC`, `Mon-Sun ${hour(5)}-${hour(7)} UTC`];
    const id = world.roll([1, 2, 3], { ...COMMANDS, windows, workMs: 50 * 60_000 });
    await world.run(id, { seconds: 30 });
    assert.deepEqual([world.store.drains.size, world.ran.length], [0, 0]);
    assert.match(world.record(id).held ?? '', /Outside the window, which opens at /);
    const opens = Math.ceil(world.clock.wallMs() / HOUR_MS) * HOUR_MS + HOUR_MS;
    const inside = (ms: number): boolean => ms >= opens && (ms - opens) % (3 * HOUR_MS) < 2 * HOUR_MS;
    await world.pass(opens - world.clock.wallMs());
    await world.run(id, { isDone: () => world.states(id).filter((each) => each.endsWith('done')).length === 1 });
    await world.pass(75 * 60_000);
    await world.run(id, { seconds: 60 });
    assert.match(world.record(id).held ?? '', /Wave \d takes about 51 min, and nothing begins from .* on: it waits/);
    const before = world.ran.length;
    await world.pass(HOUR_MS);
    await world.run(id, { seconds: 60 });
    assert.equal(world.ran.length, before, 'nothing begins until the next window');
    await world.pass(opens + 3 * HOUR_MS - world.clock.wallMs());
    await world.run(id);
    assert.equal(world.record(id).state, 'completed');
    const begins = [...world.store.drains.values()].flatMap(({ value }) => [
      value.createdAt,
      ...value.moves.flatMap(({ startedAt }) => startedAt ?? []),
    ]);
    const works = world.record(id).hosts.flatMap(({ done }) => done.map(({ startedAt }) => startedAt));
    for (const at of [...begins, ...works]) assert.ok(inside(at), `${new Date(at).toISOString()} is outside`);
  });

  test('that closes in the middle of a drain pauses the drain, and the next one goes on with it', async () => {
    const world = threeBusy();
    const from = world.clock.wallMs() + 30_000;
    const freezes = [{ from, until: from + 60_000, reason: 'quarter end' }];
    const id = world.roll([1], { workMs: 0, commands: { run: 'patch' } });
    world.store.put({ kind: 'roll', id, value: { ...world.record(id), freezes } });
    for (let second = 0; second < 35; second++) await world.pass();
    const drain = [...world.store.drains.values()][0]?.value ?? assert.fail('no drain');
    assert.equal(drain.state, 'paused');
    assert.match(world.record(id).held ?? '', /Frozen until .*: quarter end/);
    world.migrate();
    await world.pass();
    assert.deepEqual(world.migrate(), [], 'no move begins');
    await world.run(id, { seconds: 120 });
    assert.equal(world.record(id).state, 'completed');
  });

  test('quiet hours hold it back as well', async () => {
    const world = threeBusy();
    const quiet = guestClusterRecord([vm(1, 1)], { quiet: ['Mon-Sun 00:00-24:00 UTC'] });
    const member = vm(1, 1);
    world.store.put({
      kind: 'vm',
      id: member.id,
      value: { ...member, spec: { ...member.spec, guestCluster: quiet.name } },
    });
    world.index.setGuestCluster(quiet.name, quiet);
    const id = world.roll([1], COMMANDS);
    await world.run(id, { seconds: 20 });
    assert.match(world.record(id).held ?? '', /Guest cluster .* has quiet hours/);
    assert.equal(world.store.drains.size, 0);
    world.index.setGuestCluster(quiet.name, { ...quiet, quiet: [] });
    await world.run(id);
    assert.equal(world.record(id).state, 'completed');
  });

  test('quiet hours are overridden where somebody signs for it, in the record of the roll and of its drains', async () => {
    const world = threeBusy();
    const quiet = guestClusterRecord([vm(1, 1)], { quiet: ['Mon-Sun 00:00-24:00 UTC'] });
    const member = vm(1, 1);
    const spec = { ...member.spec, guestCluster: quiet.name };
    world.store.put({ kind: 'vm', id: member.id, value: { ...member, spec } });
    world.index.setGuestCluster(quiet.name, quiet);
    const quietOverride = { owner: 'ann', reason: 'the flaw is exploited' };
    const id = world.roll([1], { ...COMMANDS, quietOverride });
    await world.run(id);
    assert.equal(world.record(id).state, 'completed');
    assert.deepEqual(world.record(id).quietOverride, quietOverride);
    assert.deepEqual(
      [...world.store.drains.values()].map(({ value }) => value.quietOverride),
      [quietOverride],
    );
  });

  test('that closes while the drain has not been paused yet lets no move begin', async () => {
    const world = threeBusy();
    const id = world.roll([1], { workMs: 0 });
    for (let second = 0; second < 3; second++) await world.pass();
    // The roll's loop is not there to pause the drain: its leader has just ended.
    world.rolls.stop();
    await settled();
    const now = world.clock.wallMs();
    const freezes = [{ from: now - 1, until: now + 60_000, reason: 'quarter end' }];
    world.store.put({ kind: 'roll', id, value: { ...world.record(id), freezes } });
    assert.equal(world.migrate().length, 1, 'the one that had begun ends');
    for (let second = 0; second < 10; second++) await world.pass();
    const drain = [...world.store.drains.values()][0]?.value ?? assert.fail('no drain');
    assert.equal(drain.state, 'running');
    assert.ok(drain.moves.some(({ state }) => state === 'waiting'));
    assert.deepEqual(world.migrate(), []);
  });

  test('that has no time for a wave as it is planned now holds it, though what was approved would fit', async () => {
    const world = threeBusy();
    const id = world.roll([1], { workMs: 0 });
    const record = world.store.rollPlans.get(id)?.value ?? assert.fail('no plan');
    const approvedMs = planOfRecord(record)?.waves[0]?.durationMs ?? assert.fail('no wave');
    for (const n of [5, 6]) world.store.put({ kind: 'vm', id: vmId(n), value: vm(n, 1) });
    const from = world.clock.wallMs() + approvedMs + 3_000;
    const freezes = [{ from, until: from + HOUR_MS, reason: 'quarter end' }];
    world.store.put({ kind: 'roll', id, value: { ...world.record(id), freezes } });
    await world.pass(100);
    assert.match(world.record(id).held ?? '', /Wave 1 takes about \d+ min, and nothing begins from/);
    await world.run(id, { seconds: 30 });
    assert.equal(world.store.drains.size, 0);
    await world.pass(HOUR_MS + approvedMs);
    await world.run(id);
    assert.equal(world.record(id).state, 'completed');
  });

  test('of a roll whose record cannot be read, or is gone, is not known: no move begins', async () => {
    const world = threeBusy();
    const id = world.roll([1], { workMs: 0 });
    for (let second = 0; second < 3; second++) await world.pass();
    const record = world.record(id);
    world.rolls.stop();
    await settled();
    const key = keyOf.roll(id);
    world.store.lastReadable.set(key, record);
    world.store.unreadable.set(key, 'is not JSON');
    world.store.put({ kind: 'roll', id, value: null });
    const waits = (): string => [...world.store.drains.values()][0]?.value.waits?.what ?? '';
    assert.equal(world.migrate().length, 1, 'the one that had begun ends');
    for (let second = 0; second < 10; second++) await world.pass();
    assert.deepEqual(world.migrate(), []);
    const drain = [...world.store.drains.keys()][0] ?? assert.fail('no drain');
    const cancelled = (): unknown => world.request((basis) => cancelDrain(basis, drain));
    assert.throws(cancelled, { message: /is a wave of/ });
    assert.throws(() => world.request((basis) => undrainHost(basis, 'h1')), {
      message: /h1 is in roll-/,
    });
    assert.match(waits(), /What etcd holds at \/gp\/roll\/.* is not JSON\. No move begins until it is mended/);
    world.store.unreadable.clear();
    world.drains.wakeAll();
    for (let second = 0; second < 10; second++) await world.pass();
    assert.deepEqual(world.migrate(), []);
    assert.match(waits(), /has no record/);
    world.store.put({ kind: 'roll', id, value: record });
    for (let second = 0; second < 10; second++) await world.pass();
    assert.equal(world.migrate().length, 1, 'it goes on once its roll is known');
    world.store.lastReadable.clear();
    world.store.put({ kind: 'roll', id, value: null });
    cancelled();
    assert.equal(world.store.drains.get(drain)?.value.state, 'cancelling', 'nobody else could end it');
  });

  test('that no wave fits into is refused at the start', () => {
    const world = threeBusy();
    assert.throws(
      () => world.roll([1], { ...COMMANDS, windows: ['Sat 22:00-23:00 Europe/Berlin'], workMs: 2 * HOUR_MS }),
      { code: 'conflict', message: /Wave 1 takes about 121 min: no window is that long/ },
    );
    assert.throws(() => world.roll([1], { windows: ['Samstag 22:00-23:00 Europe/Berlin'] }), { code: 'bad-input' });
  });
});

test('no roll begins while the record of another one cannot be read: it may work on the same hosts', () => {
  const world = threeBusy();
  world.store.unreadable.set(keyOf.roll('roll-0123456789ab' as RollId), 'is not JSON');
  assert.throws(() => world.roll([1], {}), { code: 'conflict', message: /roll-0123456789ab is not JSON/ });
  world.store.unreadable.clear();
  world.roll([1], {});
});

test('a plan of another cluster is refused, though its hosts have the names of ours', () => {
  const world = threeBusy();
  const plan = world.plan([1, 2, 3], 1);
  assert.match(plan, /vm-0/);
  const request = { plan: plan.replaceAll('vm-0', 'vm-f'), who: 'admin' };
  assert.throws(
    () => world.request((basis, observed) => startRoll(basis, observed, { request, hash: HASH, approved: HASH })),
    /The plan moves \d+ VMs, and this cluster has none of them/,
  );
});

test('what changed since the approval is done otherwise, and said', async () => {
  const world = threeBusy();
  const id = world.roll([1, 2], COMMANDS);
  const first = world.record(id).hosts[0]?.host ?? assert.fail('no host');
  const fifth = vm(5, Number(first.slice(1)));
  world.store.put({ kind: 'vm', id: fifth.id, value: fifth });
  await world.run(id);
  assert.equal(world.record(id).state, 'completed');
  assert.match(
    world
      .record(id)
      .deviations.map(({ what }) => what)
      .join(),
    /Wave 1: vm5 goes from h\d to h\d/,
  );
});

test('a wave that has no plan now is held with its reason, and begins when there is room', async () => {
  const world = threeBusy();
  const id = world.roll([1], COMMANDS);
  for (let n = 10; n < 17; n++) world.store.put({ kind: 'vm', id: vmId(n), value: vm(n, 2 + (n % 2)) });
  await world.run(id, { seconds: 30 });
  assert.match(world.record(id).held ?? '', /Wave 1 has no plan now: no host can take vm/);
  assert.equal(world.store.drains.size, 0);
  for (let n = 10; n < 17; n++) world.store.put({ kind: 'vm', id: vmId(n), value: null });
  await world.run(id);
  assert.equal(world.record(id).state, 'completed');
});

test('a wave that cannot be committed is planned again rarer and rarer, and the record says why', async () => {
  const world = threeBusy();
  const commit = world.store.commit.bind(world.store);
  let tries = 0;
  world.store.commit = async (asked) => {
    if (!asked.changes.some(({ kind }) => kind === 'drain')) return commit(asked);
    tries += 1;
    return 'conflict';
  };
  const id = world.roll([1], COMMANDS);
  await world.run(id, { seconds: 120 });
  assert.ok(tries >= 5 && tries <= 15, `${tries} tries in two minutes`);
  assert.match(world.record(id).held ?? '', /Wave 1 cannot begin yet, and is planned again: others change/);
  world.store.commit = commit;
  await world.run(id);
  assert.deepEqual([world.record(id).state, world.record(id).held], ['completed', null]);
});
