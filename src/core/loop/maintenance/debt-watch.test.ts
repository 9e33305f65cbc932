import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type HostName, parseVmId, type VmId } from '../../../base/ids.ts';
import type { HostVerdict } from '../../maintenance/evacuability.ts';
import type { Debt } from '../../model/debt.ts';
import type { VmRecord } from '../../model/vm.ts';
import { host, hostRecord, incarnation, VM, vmRecord } from '../../plan/testing/sample-records.ts';
import { ManualClock, settled } from '../../ports/testing/manual-clock.ts';
import { MemoryStore } from '../testing/memory-store.ts';
import { DebtWatch } from './debt-watch.ts';

const LONG_MS = 75_000;

/** A VM on one of two hosts, with a debt that was signed at the beginning. */
class World {
  readonly store = new MemoryStore();
  readonly clock = new ManualClock();
  isSettled = true;
  answer: 'can' | 'cannot' = 'cannot';
  readonly watch: DebtWatch;

  constructor(debt: Partial<Debt>, spec: Partial<VmRecord['spec']> = {}) {
    for (const n of [1, 2]) this.store.put({ kind: 'host', id: host(n), value: hostRecord(n) });
    const vm = vmRecord({ kind: 'running', incarnation: incarnation(1) });
    const now = this.clock.wallMs();
    const signed: Debt = {
      ...{ id: 'debt-00000000000a', kind: 'room', what: 'start of web', owner: 'ann', reason: 'a licence' },
      ...{ until: now + 10 * LONG_MS, by: 'admin', since: now, broke: [{ host: host(1), question: 'drain' }] },
      ...debt,
    };
    this.store.put({ kind: 'vm', id: VM, value: { ...vm, spec: { ...vm.spec, ...spec }, debts: [signed] } });
    this.watch = this.#watch();
  }

  #watch(): DebtWatch {
    const watch = new DebtWatch({
      clock: this.clock,
      log: { info: () => undefined, warn: (text) => assert.fail(text) },
      store: this.store,
      estate: {
        isSettled: this.isSettled,
        verdict: (_name: HostName) => ({ drain: { kind: this.answer }, loss: { kind: 'cannot' } }) as HostVerdict,
        owing: () => new Set<VmId>(this.store.vms.keys()),
      },
    });
    watch.start();
    return watch;
  }

  /** A new watch, as after a change of leader. */
  another(): DebtWatch {
    this.watch.stop();
    return this.#watch();
  }

  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 5_000) {
      await this.clock.advance(5_000);
      await settled();
    }
  }

  get debts(): readonly Debt[] {
    return this.store.vms.get(VM)?.value.debts ?? [];
  }

  get said(): readonly string[] {
    return this.store.events.map(({ kind, message }) => `${kind} ${message}`);
  }
}

test('a debt that is due is said once, with who signed and why, also by the next leader', async () => {
  const world = new World({ until: new ManualClock().wallMs() + LONG_MS });
  await world.pass(LONG_MS - 10_000);
  assert.deepEqual(world.said, []);
  await world.pass(2 * LONG_MS);
  assert.equal(world.said.length, 1);
  assert.match(world.said[0] ?? '', /^debt-due debt-00000000000a is due since .*start of web\. ann .*a licence/);
  const next = world.another();
  await world.pass(LONG_MS);
  assert.equal(world.said.length, 1, 'the record remembers');
  assert.equal(world.debts.length, 1, 'a debt that is due stays until its reason is gone');
  next.stop();
});

test('a debt of room is settled once the hosts that it broke can be drained again, and not while it is young', async () => {
  const world = new World({});
  world.answer = 'can';
  await world.pass(50_000);
  assert.equal(world.debts.length, 1, 'its VM may not even run yet');
  await world.pass(30_000);
  assert.deepEqual(world.debts, []);
  assert.match(world.said[0] ?? '', /^debt-settled debt-00000000000a is settled: start of web/);
  world.watch.stop();
});

test('a debt of room stays while a host that it broke cannot be drained', async () => {
  const world = new World({});
  await world.pass(3 * LONG_MS);
  assert.deepEqual([world.debts.length, world.said], [1, []]);
  world.watch.stop();
});

test('a debt of a pin is settled with the pin, and stays while it lasts', async () => {
  const tied = new World({ kind: 'pin', broke: [] }, { pin: host(1) });
  await tied.pass(2 * LONG_MS);
  assert.equal(tied.debts.length, 1);
  const free = new World({ kind: 'pin', broke: [] });
  await free.pass(2 * LONG_MS);
  assert.deepEqual(free.debts, []);
  for (const { watch } of [tied, free]) watch.stop();
});

test('a watch that was stopped looks no more, and one that does not lead writes nothing', async () => {
  const world = new World({ kind: 'pin', broke: [] });
  world.store.isLeading = false;
  await world.pass(2 * LONG_MS);
  assert.equal(world.debts.length, 1);
  world.store.isLeading = true;
  world.watch.stop();
  await world.pass(2 * LONG_MS);
  assert.equal(world.debts.length, 1);
});

test('many debts are looked at some at a time, and hosts are read once for each turn', async () => {
  const world = new World({ kind: 'cpu-model', broke: [] }, { cpuModel: 'epyc' });
  const { value } = world.store.vm();
  for (let n = 1; n < 1_000; n += 1) {
    const id = parseVmId(`vm-${n.toString(16).padStart(12, '0')}`);
    world.store.put({ kind: 'vm', id, value: { ...value, id } });
  }
  let [reads, turns] = [0, 0];
  const after = world.clock.after.bind(world.clock);
  const { hosts } = world.store;
  const values = hosts.values.bind(hosts);
  hosts.values = () => {
    reads += 1;
    return values();
  };
  world.clock.after = (ms, act) =>
    after(ms, () => {
      if (ms === 0) turns += 1;
      act();
    });
  await world.pass(2 * LONG_MS);
  const looks = (2 * LONG_MS) / 10_000;
  assert.ok(turns >= 9 * (looks - 1), `${turns} turns in ${looks} looks`);
  assert.ok(reads <= 11 * looks, `hosts were read ${reads} times`);
  assert.deepEqual(world.said, []);
  world.watch.stop();
});

test('a debt is settled in its record as that is then, also where another one of it was settled just before', async () => {
  const world = new World({ kind: 'pin', broke: [] });
  const { value } = world.store.vm();
  const [debt] = world.debts;
  assert.ok(debt !== undefined);
  const second = { ...debt, id: 'debt-00000000000b', kind: 'cpu-model' } as const;
  world.store.put({ kind: 'vm', id: VM, value: { ...value, debts: [debt, second] } });
  await world.pass(LONG_MS);
  assert.deepEqual([world.debts, world.said.length], [[], 2]);
  world.watch.stop();
});
