import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostName, VmId } from '../../../base/ids.ts';
import type { HostVerdict } from '../../maintenance/evacuability.ts';
import type { Debt } from '../../model/debt.ts';
import { host, hostRecord, incarnation, VM, vmRecord } from '../../plan/testing/sample-records.ts';
import { ManualClock, settled } from '../../ports/testing/manual-clock.ts';
import { MemoryStore } from '../testing/memory-store.ts';
import { EvacuabilityWatch } from './evacuability-watch.ts';

/** Two hosts, with a VM on the first one; the test decides which of them can be drained and lost. */
class World {
  readonly store = new MemoryStore();
  readonly clock = new ManualClock();
  /** `drain h1`: it cannot be. */
  readonly refused = new Set<string>();
  isSettled = true;
  watch = this.#watch();

  constructor() {
    for (const n of [1, 2]) this.store.put({ kind: 'host', id: host(n), value: hostRecord(n) });
    this.owe([]);
  }

  owe(debts: readonly Debt[]): void {
    const vm = vmRecord({ kind: 'running', incarnation: incarnation(1) });
    this.store.put({ kind: 'vm', id: VM, value: { ...vm, debts } });
  }

  #watch(): EvacuabilityWatch {
    const world = this;
    const answer = (question: string, name: HostName) =>
      this.refused.has(`${question} ${name}`)
        ? { kind: 'cannot', vms: [VM], because: ['web: there is no other host'] }
        : { kind: 'can' };
    const watch = new EvacuabilityWatch({
      clock: this.clock,
      log: { info: () => undefined, warn: (text) => assert.fail(text) },
      store: this.store,
      estate: {
        get isSettled() {
          return world.isSettled;
        },
        verdict: (name) => ({ drain: answer('drain', name), loss: answer('loss', name) }) as HostVerdict,
        owing: () => new Set<VmId>([VM]),
        bound: () => new Set(),
      },
    });
    watch.start();
    return watch;
  }

  /** A new watch, as after a change of leader. */
  lead(): void {
    this.watch.stop();
    this.watch = this.#watch();
  }

  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 5_000) {
      await this.clock.advance(5_000);
      await settled();
    }
  }

  get standing(): readonly string[] {
    return this.watch.standing.map(({ host: name, question }) => `${question} ${name}`).sort();
  }

  get said(): readonly string[] {
    return this.store.events.map(({ kind, message }) => `${kind} ${message}`);
  }
}

test('hosts that can be lost no more are said once when that stands, and again when it is over', async () => {
  const world = new World();
  await world.pass(20_000);
  for (const each of ['loss h1', 'loss h2']) world.refused.add(each);
  await world.pass(50_000);
  assert.deepEqual([world.standing, world.said], [[], []], 'it may pass by itself');
  await world.pass(100_000);
  assert.deepEqual(world.standing, ['loss h1', 'loss h2']);
  assert.deepEqual(world.said, [
    'evacuability-lost h1, h2 cannot be lost any more, and nobody signed for that. h1: web: there is no other host',
  ]);
  world.refused.clear();
  await world.pass(20_000);
  assert.deepEqual(world.standing, []);
  assert.deepEqual(world.said.slice(1), ['evacuability-back h1, h2 can be lost again.']);
  world.watch.stop();
});

test('a new leader lists what stands and repeats no event', async () => {
  const world = new World();
  world.refused.add('drain h1');
  await world.pass(150_000);
  assert.deepEqual([world.standing, world.said], [['drain h1'], []], 'it was so when this leader began');
  world.lead();
  await world.pass(150_000);
  assert.deepEqual([world.standing, world.said], [['drain h1'], []]);
  world.watch.stop();
});

test('what a debt or a tie explains, hosts in maintenance, and a host that is alone are not listed', async () => {
  const world = new World();
  world.refused.add('drain h1');
  const debt: Debt = {
    ...{ id: 'debt-00000000000a', kind: 'room', what: 'start of web', owner: 'ann', reason: 'a licence' },
    ...{ until: world.clock.wallMs() + 1e9, by: 'admin', since: 0, broke: [{ host: host(1), question: 'drain' }] },
  };
  world.owe([debt]);
  await world.pass(100_000);
  assert.deepEqual(world.standing, [], 'somebody signed for it');
  world.owe([]);
  await world.pass(100_000);
  assert.deepEqual(world.standing, ['drain h1']);
  world.store.put({ kind: 'host', id: host(2), value: hostRecord(2, { cordoned: true }) });
  await world.pass(20_000);
  assert.deepEqual(world.standing, [], 'no other host is in service');
  world.watch.stop();
});

test('verdicts that are being looked at are not taken in', async () => {
  const world = new World();
  world.isSettled = false;
  world.refused.add('drain h1');
  await world.pass(150_000);
  assert.deepEqual(world.standing, []);
  world.watch.stop();
});
