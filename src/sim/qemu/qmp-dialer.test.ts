import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseGeneration, parseHostName, parseVmId } from '../../base/ids.ts';
import { DIRECT } from '../../core/model/paths.ts';
import { portsOfSlot } from '../../core/model/ports.ts';
import type { Dialed } from '../../core/ports/qmp-dialer.ts';
import type { QmpTarget } from '../../core/ports/qmp-link.ts';
import { QmpSessions } from '../../core/qmp/qmp-sessions.ts';
import { SimMachine, type SimProcess } from '../machines/sim-machine.ts';
import type { Topology } from '../machines/topology.ts';
import { SimNetwork } from '../network/network.ts';
import { SimClock } from '../time/sim-clock.ts';
import { SimRandom } from '../time/sim-random.ts';
import { QemuProcess } from './qemu-process.ts';
import { SimQmpDialer } from './qmp-dialer.ts';

const HOST = parseHostName('h1');
const TARGET: QmpTarget = {
  vm: parseVmId('vm-0123456789ab'),
  generation: parseGeneration(1),
  slot: 0,
  host: HOST,
  addresses: { control: '10.0.1.1', storage: '10.1.1.1', overlay: '10.2.1.1' },
};
const [FIRST, SECOND] = portsOfSlot(0).qmp;
const DEADLINE_MS = 700;

/** A host with one QEMU, and control nodes. */
class World {
  readonly clock = new SimClock();
  readonly network = new SimNetwork(this.clock, new SimRandom(1));
  readonly machine = new SimMachine('h1', this.clock);
  readonly qemu = this.#qemu();
  readonly topology: Topology = {
    network: this.network,
    controls: new Map(),
    storage: new Map(),
    hosts: new Map([
      [HOST, { name: HOST, machine: this.machine, agent: null, serial: 'h1-0', qemus: () => this.qemus }],
    ]),
    note: () => undefined,
    say: () => undefined,
    isMember: () => true,
    knownAt: () => 0,
  };

  get qemus(): readonly QemuProcess[] {
    return this.qemu.process.isAlive ? [this.qemu] : [];
  }

  control(name: string): { readonly process: SimProcess; readonly dialer: SimQmpDialer } {
    const process = new SimMachine(name, this.clock).spawn('server');
    return { process, dialer: new SimQmpDialer(this.topology, { control: name, process }) };
  }

  async done<T>(promise: Promise<T>): Promise<T> {
    await this.clock.run(this.clock.monotonicMs() + 10_000);
    return promise;
  }

  dial(dialer: SimQmpDialer, port: number, target = TARGET): Promise<Dialed> {
    const options = { deadlineMs: DEADLINE_MS, onEvent: () => undefined };
    return this.done(dialer.dial(target, { path: DIRECT, port }, options));
  }

  #qemu(): QemuProcess {
    const { vm, generation, slot } = TARGET;
    const order = { vm, generation, slot, vmName: 'web1', incoming: false, disks: [], sharedDisks: [] };
    return new QemuProcess(order, this.machine.spawn('qemu'), {
      network: this.network,
      random: new SimRandom(2),
      storageAt: () => undefined,
      address: TARGET.addresses.storage,
      note: () => undefined,
      say: () => undefined,
      qemuAt: () => undefined,
    });
  }
}

test('a monitor serves one client at a time, and the next one when that one has gone, however it went', async () => {
  const world = new World();
  const [c1, c2, c3] = [world.control('c1'), world.control('c2'), world.control('c3')];
  const first = await world.dial(c1.dialer, FIRST);
  assert.equal(first.outcome, 'answers');
  assert.equal((await world.dial(c2.dialer, FIRST)).outcome, 'accepted-but-silent');
  assert.equal((await world.dial(c2.dialer, SECOND)).outcome, 'answers');
  if (first.outcome === 'answers') first.channel.close();
  // The attempt of c2 was given up: it does not hold the monitor either.
  assert.equal((await world.dial(c3.dialer, FIRST)).outcome, 'answers');
  c3.process.end();
  assert.equal((await world.dial(c1.dialer, FIRST)).outcome, 'answers');
});

test('what an attempt meets: another incarnation, a process that stands still, nobody, a machine without power', async () => {
  const world = new World();
  const { dialer } = world.control('c1');
  const other = { ...TARGET, generation: parseGeneration(2) };
  assert.equal((await world.dial(dialer, FIRST, other)).outcome, 'rejected');
  const goOn = world.qemu.process.freeze();
  assert.equal((await world.dial(dialer, FIRST)).outcome, 'accepted-but-silent');
  goOn();
  assert.equal((await world.dial(dialer, FIRST)).outcome, 'answers');
  world.qemu.process.end();
  assert.equal((await world.dial(dialer, FIRST)).outcome, 'refused');
  world.machine.powerOff();
  assert.equal((await world.dial(dialer, FIRST)).outcome, 'silent');
});

test('orders are carried out and events are heard; the end of QEMU ends the session', async () => {
  const world = new World();
  const { process, dialer } = world.control('c1');
  const sessions = new QmpSessions({ dialer, clock: process, monitor: 0 });
  let heard = 0;
  sessions.onEvent(() => heard++);
  await world.done(sessions.cont(TARGET));
  assert.equal(world.qemu.status, 'running');
  assert.equal(heard, 1);
  await world.done(sessions.quit(TARGET));
  assert.equal(world.qemu.process.isAlive, false);
  assert.equal(heard, 2);
  const seen = await world.done(sessions.observe(TARGET));
  assert.equal(seen.kind, 'refused');
});
