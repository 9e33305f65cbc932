import assert from 'node:assert/strict';
import { test } from 'node:test';
import { messageOf } from '../../base/errors.ts';
import { parseHostName, parseVmId, type Term, type VmId } from '../../base/ids.ts';
import type { AgentHost } from '../../core/agent/agent-host.ts';
import { killOrder, launchOrder, NIC, networkPlan } from '../../core/agent/testing/fake-machine.ts';
import { SimMachine, type SimProcess } from '../machines/sim-machine.ts';
import { SimClock } from '../time/sim-clock.ts';
import { SimRandom } from '../time/sim-random.ts';
import { type HostTroubles, NO_HOST_TROUBLES } from './agent-machine.ts';
import { type HostedQemu, HostKernel } from './host-kernel.ts';
import { startAgent } from './sim-agent.ts';

const SEEDS = 150;
const VMS = ['vm-aaaaaaaaaaaa', 'vm-bbbbbbbbbbbb'].map(parseVmId);
const SLOTS = 4;
/** Longer than the longest of all waits: a process that sticks to a kill, a start that hangs. */
const CALM_MS = 60_000;
const STEPS = 60;
const TROUBLES: HostTroubles = { fetchFails: 10, startFails: 10, startHangs: 5, killSticks: 10, networkFails: 10 };

interface SimQemu extends HostedQemu {
  readonly process: SimProcess;
}

/** A host on which agents live and die, and what happened there. */
class Host {
  readonly clock = new SimClock();
  readonly machine = new SimMachine('h1', this.clock);
  readonly random: SimRandom;
  readonly log: string[] = [];
  readonly wrong: string[] = [];
  readonly troubles: HostTroubles = { ...NO_HOST_TROUBLES };
  readonly kernel: HostKernel<SimQemu>;
  /** Kills that this life of the agent has acknowledged: nothing of them may come again. */
  readonly ended = new Set<string>();
  #process: SimProcess;
  agent: AgentHost;

  constructor(seed: number) {
    this.random = new SimRandom(seed);
    this.kernel = new HostKernel({
      machine: this.machine,
      clock: this.clock,
      capacity: { memoryBytes: 2 ** 30, vcpus: 4, accelerator: 'tcg', cpuModels: [] },
      spawn: ({ vm, generation }) => {
        this.say(`spawn ${vm}:${generation}`);
        if (this.ended.has(`${vm}:${generation}`)) this.wrong.push(`${vm}:${generation} came again`);
        const process = this.machine.spawn(`${vm}:${generation}`);
        process.onEnd(() => this.say(`end ${vm}:${generation}`));
        return { process, open: async () => true, qmp: { answer: async () => '{"return": {}}' } };
      },
      onHarm: (what) => this.wrong.push(what),
    });
    this.#process = this.machine.spawn('agent');
    this.agent = this.#live();
  }

  say(what: string): void {
    this.log.push(`${this.clock.monotonicMs()} ${what}`);
  }

  run(ms: number): Promise<void> {
    return this.clock.run(this.clock.monotonicMs() + ms);
  }

  killAgent(): void {
    this.say('agent dies');
    this.#process.end();
  }

  startAgent(): void {
    this.#process = this.machine.spawn('agent');
    this.agent = this.#live();
  }

  get running(): readonly string[] {
    return this.kernel.running.map(({ vm, generation }) => `${vm}:${generation}`);
  }

  #live(): AgentHost {
    const log = {
      info: (message: string, fields?: object) => this.say(`${message} ${JSON.stringify(fields)}`),
      warn: (message: string, fields?: object) => this.say(`! ${message} ${JSON.stringify(fields)}`),
    };
    const { kernel, random, troubles } = this;
    const probe = async () => ({ outcome: 'accepted', lateMs: 0 }) as const;
    return startAgent({ name: parseHostName('h1'), clock: this.#process, kernel, random, troubles, probe, log });
  }
}

/** What a promise comes to within a second of simulated time. */
async function outcome(host: Host, promise: Promise<unknown>): Promise<string> {
  let said = 'nothing';
  promise.then(
    (value) => {
      said = JSON.stringify(value);
    },
    (error: unknown) => {
      said = messageOf(error);
    },
  );
  await host.run(1_000);
  return said;
}

test('processes outlive the agent, and a boot outlives nothing', async () => {
  const host = new Host(1);
  assert.match(await outcome(host, host.agent.launch(launchOrder(5, { nics: [NIC] }))), /"already":false/);
  const before = host.agent.report();
  host.killAgent();
  await host.run(5_000);
  host.startAgent();
  assert.deepEqual(host.agent.report(), { ...before, networkRevision: 0, wallMs: host.machine.wallMs });
  assert.equal(host.kernel.network?.revision, 1);
  assert.match(await outcome(host, host.agent.launch(launchOrder(5, { nics: [NIC] }))), /"already":true/);
  host.machine.powerOff();
  host.machine.boot();
  host.startAgent();
  assert.deepEqual([host.running, host.kernel.files, host.kernel.network], [[], [], null]);
  assert.notEqual(host.agent.report().bootId, before.bootId);
  assert.deepEqual(host.wrong, []);
});

test('a start goes on without its agent once QEMU is spawned, and not before', async () => {
  const seen = new Set<string>();
  for (let killedAfterMs = 0; killedAfterMs < 20; killedAfterMs++) {
    const host = new Host(7);
    const launching = outcome(host, host.agent.launch(launchOrder(5)));
    host.clock.after(killedAfterMs, () => host.killAgent());
    assert.equal(await launching, 'nothing');
    host.startAgent();
    const found = host.running.length === 1;
    seen.add(found ? 'spawned' : 'not spawned');
    assert.match(await outcome(host, host.agent.launch(launchOrder(5))), found ? /already":true/ : /already":false/);
    assert.equal(host.running.length, 1);
  }
  assert.deepEqual(seen, new Set(['spawned', 'not spawned']));
});

test('a slot that something unknown runs in, and a tap that is not there, end a QEMU as it starts', async () => {
  const host = new Host(3);
  const { kernel } = host;
  kernel.makeFiles(launchOrder(1));
  const { name } = kernel.spawn(launchOrder(1));
  await host.run(10);
  assert.deepEqual(
    kernel.running.map(({ pid }) => pid),
    [name.pid],
  );
  for (const order of [launchOrder(2), launchOrder(3, { slot: 5 }), launchOrder(4, { slot: 5, nics: [NIC] })]) {
    if (order.generation !== 3) kernel.makeFiles(order);
    kernel.spawn(order);
  }
  await host.run(10);
  assert.deepEqual(
    kernel.running.map(({ pid }) => pid),
    [name.pid],
  );
});

test('harm is noticed: files or taps taken from what runs', async () => {
  const host = new Host(3);
  await outcome(host, host.agent.launch(launchOrder(5, { nics: [NIC] })));
  host.kernel.keepTaps(new Set());
  host.kernel.removeFiles(launchOrder(5));
  assert.deepEqual(host.wrong, [
    'the tap of vm-0123456789ab:5 was removed while it ran on h1',
    'the files of vm-0123456789ab:5 were removed while it ran on h1',
  ]);
});

/** One leader's orders, some of them late ones of an older leader, and what may befall the host meanwhile. */
class Play {
  readonly host: Host;
  #term = 5;
  #revision = 1;
  readonly #generations = new Map<VmId, number>();

  constructor(seed: number) {
    this.host = new Host(seed);
    Object.assign(this.host.troubles, TROUBLES);
  }

  async play(): Promise<void> {
    const { host } = this;
    for (let step = 0; step < STEPS; step++) {
      this.#act();
      await host.run(host.random.pick([0, 1, 5, 20, 100, 400, 3_000]));
      this.#check();
    }
    Object.assign(host.troubles, NO_HOST_TROUBLES);
    await host.run(CALM_MS);
    this.#check();
    const files = host.kernel.files.map(({ vm, generation }) => `${vm}:${generation}`);
    assert.deepEqual(files.sort(), [...host.running].sort(), 'the files are those of what runs');
  }

  #act(): void {
    const { random } = this.host;
    const vm = random.pick(VMS);
    const act = random.pick([
      'launch',
      'launch',
      'launch',
      'again',
      'kill',
      'kill',
      'network',
      'leader',
      'agent',
      'boot',
    ]);
    const known = this.#generations.get(vm) ?? 1;
    if (act === 'launch') this.#launch(vm, known + 1);
    else if (act === 'again') this.#launch(vm, Math.max(1, known - random.below(2)));
    else if (act === 'kill') this.#kill(vm, known - random.below(2));
    else if (act === 'network') this.#network();
    else if (act === 'leader') this.#term++;
    else if (act === 'agent' || random.chance(30)) this.#newLife(act === 'boot');
  }

  #orderTerm(): Term {
    return (this.host.random.chance(20) ? this.#term - 1 : this.#term) as Term;
  }

  #launch(vm: VmId, generation: number): void {
    const { random, agent } = this.host;
    this.#generations.set(vm, Math.max(generation, this.#generations.get(vm) ?? 0));
    const nics = random.chance(50) ? [NIC] : [];
    const network = networkPlan(this.#revision);
    const order = launchOrder(generation, { vm, slot: random.below(SLOTS), nics, network, term: this.#orderTerm() });
    const wasRunning = this.host.running.length;
    agent.launch(order).then(
      ({ already }) => this.host.say(`launched ${vm}:${generation} ${already}`),
      (error: unknown) => {
        this.host.say(`not launched ${vm}:${generation}: ${messageOf(error)}`);
      },
    );
    assert.equal(this.host.running.length, wasRunning, 'an order takes its time');
  }

  #kill(vm: VmId, generation: number): void {
    const { agent } = this.host;
    const named = Math.max(1, generation);
    agent.kill(killOrder([named], { vm, term: this.#orderTerm() })).then(
      () => {
        const name = `${vm}:${named}`;
        if (this.host.agent === agent) this.host.ended.add(name);
        if (this.host.running.includes(name)) this.host.wrong.push(`${name} runs when its end is acknowledged`);
      },
      (error: unknown) => this.host.say(`not killed ${vm}:${named}: ${messageOf(error)}`),
    );
  }

  #network(): void {
    const revision = this.#revision++;
    this.host.agent
      .applyNetwork({ ...networkPlan(revision), term: this.#orderTerm() })
      .catch((error: unknown) => this.host.say(`no plan ${revision}: ${messageOf(error)}`));
  }

  #newLife(boots: boolean): void {
    this.host.killAgent();
    this.host.ended.clear();
    if (boots) {
      this.host.machine.powerOff();
      this.host.machine.boot();
    }
    this.host.startAgent();
  }

  #check(): void {
    const { host } = this;
    assert.deepEqual(host.wrong, []);
    assert.equal(new Set(host.running).size, host.running.length, `none runs twice: ${host.running.join()}`);
  }
}

test('any orders, crashes and troubles: nothing runs twice, nothing that was ended comes again, nothing is harmed or left', async () => {
  const messages = new Set<string>();
  for (let seed = 0; seed < SEEDS; seed++) {
    const play = new Play(seed);
    await play.play().catch((cause: unknown) => {
      throw new Error(`seed ${seed}: ${messageOf(cause)}\n${play.host.log.join('\n')}`, { cause });
    });
    for (const line of play.host.log)
      messages.add(line.replace(/vm-[0-9a-f]{12}(:\d+)?|\d+(\.\d+)?/g, '#').slice(0, 60));
  }
  // The runs went through what they are for.
  const all = [...messages].join('\n');
  for (const met of [/term # has begun/, /ordered to end/, /was ordered already/, /Slot # is held/, /QEMU ended/])
    assert.match(all, met);
});

test('the same seed gives the same log, to the last line', async () => {
  for (const seed of [11, 12, 13]) {
    const [first, second] = [new Play(seed), new Play(seed)];
    await first.play();
    await second.play();
    assert.deepEqual(first.host.log, second.host.log);
    assert(first.host.log.length > 20);
  }
});
