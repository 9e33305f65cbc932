import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError, type ErrorCode } from '../../base/errors.ts';
import { parseVmId, type Term } from '../../base/ids.ts';
import { agentOn, FakeMachine, killOrder, launchOrder, NIC, networkPlan, VM } from './testing/fake-machine.ts';

const OTHER = parseVmId('vm-bbbbbbbbbbbb');
const term = (value: number) => ({ term: value as Term });

const coded = (code: ErrorCode, message: RegExp) => (error: unknown) => {
  assert(error instanceof CodedError);
  assert.equal(error.code, code);
  assert.match(error.message, message);
  return true;
};
const running = (machine: FakeMachine): readonly number[] => machine.processes.map(({ generation }) => generation);

/** Runs the callbacks of every promise that has settled. */
const settled = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

test('a report is what the machine says at that moment', async () => {
  const machine = new FakeMachine();
  const { agent } = agentOn(machine);
  const process = machine.add(VM, 4, 3);
  assert.deepEqual(agent.report(), {
    host: 'h1',
    bootId: 'boot-1',
    agentVersion: '1.2.3',
    qemuVersion: '7.2.0',
    capacity: machine.capacity(),
    incarnations: [process],
    networkRevision: 0,
    wallMs: 0,
  });
  machine.processes = [];
  machine.boots = 2;
  const { incarnations, bootId } = agent.report();
  assert.deepEqual([incarnations, bootId], [[], 'boot-2']);
});

test('a launch starts one process, and the same order again finds it', async () => {
  const machine = new FakeMachine();
  const { agent } = agentOn(machine);
  const first = await agent.launch(launchOrder(5));
  assert.equal(first.already, false);
  assert.deepEqual(await agent.launch(launchOrder(5)), { ...first, already: true });
  // A later leader asks for the same: it is there.
  assert.deepEqual(await agent.launch(launchOrder(5, term(6))), { ...first, already: true });
  assert.deepEqual(running(machine), [5]);
});

test('the same order again while it is being carried out waits for the same start', async () => {
  const machine = new FakeMachine();
  const { agent } = agentOn(machine);
  machine.gates.start.close();
  const orders = [agent.launch(launchOrder(5)), agent.launch(launchOrder(5)), agent.launch(launchOrder(5))];
  await settled();
  machine.gates.start.open();
  const results = await Promise.all(orders);
  assert.deepEqual(new Set(results.map(({ pid }) => pid)).size, 1);
  assert.deepEqual(running(machine), [5]);
});

test('orders of an older term are refused, whatever they are, and change nothing', async () => {
  const machine = new FakeMachine();
  const { agent } = agentOn(machine);
  await agent.launch(launchOrder(5));
  // A refused order counts as received: a leader of its term has begun.
  await assert.rejects(agent.launch(launchOrder(4, term(7))), coded('stale-order', /Generation 5/));
  const older = coded('stale-order', /of term 6; term 7 has begun/);
  await assert.rejects(agent.launch(launchOrder(6, term(6))), older);
  await assert.rejects(agent.kill(killOrder([5], term(6))), older);
  await assert.rejects(agent.applyNetwork({ ...networkPlan(9), ...term(6) }), older);
  assert.deepEqual(running(machine), [5]);
  assert.equal(agent.report().networkRevision, 0);
  assert.equal((await agent.launch(launchOrder(5, term(7)))).already, true);
});

test('a generation older than one that runs, was ordered, or was ordered to end is refused', async () => {
  const machine = new FakeMachine();
  const { agent } = agentOn(machine);
  machine.add(VM, 5, 1);
  await assert.rejects(agent.launch(launchOrder(4)), coded('stale-order', /Generation 5 of .* was ordered already/));
  machine.failures.set('start', new CodedError('failed', 'no'));
  await assert.rejects(agent.launch(launchOrder(7)), coded('failed', /no/));
  machine.failures.clear();
  await assert.rejects(agent.launch(launchOrder(6)), coded('stale-order', /Generation 7/));
  await agent.kill(killOrder([9, 8]));
  for (const generation of [7, 8, 9])
    await assert.rejects(agent.launch(launchOrder(generation)), coded('stale-order', /ordered to end/));
  assert.deepEqual(running(machine), [5]);
  // The rule does not apply to another VM.
  await agent.launch(launchOrder(1, { vm: OTHER }));
  await agent.launch(launchOrder(10, { slot: 4 }));
  assert.deepEqual(running(machine), [5, 1, 10]);
});

test('a slot that something runs in, or is being started in, is refused', async () => {
  const machine = new FakeMachine();
  const { agent } = agentOn(machine);
  machine.add(OTHER, 2, 3);
  await assert.rejects(agent.launch(launchOrder(5)), coded('conflict', /Slot 3 is held by vm-b+, generation 2/));
  machine.gates.start.close();
  const starting = agent.launch(launchOrder(5, { slot: 4 }));
  const held = coded('conflict', /Slot 4 is held by vm-0123456789ab, generation 5/);
  await assert.rejects(agent.launch(launchOrder(1, { vm: parseVmId('vm-cccccccccccc'), slot: 4 })), held);
  machine.gates.start.open();
  await starting;
  assert.deepEqual(running(machine), [2, 5]);
  // A refused order is not remembered.
  assert.equal((await agent.launch(launchOrder(5, { slot: 4 }))).already, true);
});

test('a slot stays held by a start that was called off until it has ended', async () => {
  const machine = new FakeMachine();
  const { agent } = agentOn(machine);
  machine.gates.start.close();
  const first = agent.launch(launchOrder(5, { slot: 3 }));
  await settled();
  const second = agent.launch(launchOrder(6, { slot: 4 }));
  // Without a turn in between: generation 5 is still ending.
  await assert.rejects(agent.launch(launchOrder(1, { vm: OTHER, slot: 3 })), coded('conflict', /generation 5/));
  await assert.rejects(first, coded('stale-order', /Generation 6 of .* was ordered/));
  machine.gates.start.open();
  await second;
  await agent.launch(launchOrder(1, { vm: OTHER, slot: 3 }));
  assert.deepEqual(running(machine), [6, 1]);
});

test('a newer generation calls the older start off and begins when that has ended', async () => {
  const machine = new FakeMachine();
  const { agent } = agentOn(machine);
  machine.gates.start.close();
  const first = agent.launch(launchOrder(5));
  await settled();
  const second = agent.launch(launchOrder(6, { slot: 4 }));
  const third = agent.launch(launchOrder(7, { slot: 5 }));
  machine.gates.start.open();
  await assert.rejects(first, coded('stale-order', /Generation 6/));
  await assert.rejects(second, coded('stale-order', /Generation 7/));
  await third;
  assert.deepEqual(running(machine), [7]);
  const steps = machine.said.filter((line) => /^(prepare|start|remove)/.test(line));
  // Generation 6 was called off before it did anything.
  assert.deepEqual(steps, ['prepare 5', 'start 5', 'remove 5', 'remove 6', 'prepare 7', 'start 7']);
});

test('a kill during a launch calls it off, waits for its end, and nothing of it comes back', async () => {
  for (const gate of ['prepare', 'start'] as const) {
    const machine = new FakeMachine();
    const { agent } = agentOn(machine);
    machine.gates[gate].close();
    const launching = agent.launch(launchOrder(5));
    launching.catch(() => undefined);
    await settled();
    assert.deepEqual(await agent.kill(killOrder([5])), { killed: [] });
    await assert.rejects(launching, coded('stale-order', /ordered to end: a test/));
    machine.gates[gate].open();
    await settled();
    assert.deepEqual([running(machine), [...machine.files]], [[], []]);
    await assert.rejects(agent.launch(launchOrder(5)), coded('stale-order', /ordered to end/));
  }
});

test('a kill that comes when QEMU is just up ends it', async () => {
  const machine = new FakeMachine();
  const { agent } = agentOn(machine);
  const launching = agent.launch(launchOrder(5));
  while (machine.processes.length === 0) await Promise.resolve();
  // The process exists, and the agent has not noticed it yet.
  const killing = agent.kill(killOrder([5]));
  await assert.rejects(agent.launch(launchOrder(5)), coded('stale-order', /ordered to end/));
  assert.deepEqual(await killing, { killed: [5] });
  assert.equal((await launching).already, false);
  assert.deepEqual(running(machine), []);
});

test('a kill of an older generation whose start is ending waits for it too', async () => {
  const machine = new FakeMachine();
  const { agent } = agentOn(machine);
  machine.gates.start.close();
  const first = agent.launch(launchOrder(5));
  await settled();
  const second = agent.launch(launchOrder(6, { slot: 4 }));
  const over: string[] = [];
  first.catch(() => over.push('launch 5'));
  await agent.kill(killOrder([5]));
  assert.deepEqual(over, ['launch 5']);
  machine.gates.start.open();
  assert.equal((await second).already, false);
  assert.deepEqual(running(machine), [6]);
});

test('only what is named is killed, as often as it is asked', async () => {
  const machine = new FakeMachine();
  const { agent, logged } = agentOn(machine);
  for (const [vm, generation, slot] of [
    [VM, 3, 1],
    [VM, 4, 2],
    [VM, 6, 3],
    [OTHER, 4, 4],
  ] as const)
    machine.add(vm, generation, slot);
  assert.deepEqual(await agent.kill(killOrder([1, 3, 4])), { killed: [3, 4] });
  assert.deepEqual(running(machine), [6, 4]);
  assert.deepEqual(await agent.kill(killOrder([1, 3, 4])), { killed: [] });
  assert.deepEqual([...machine.files], [`${VM}:6`, `${OTHER}:4`]);
  assert.equal(logged.filter((line) => line === 'incarnation ended by order').length, 2);
});

test('a process that does not end fails the kill, and the next one tries again', async () => {
  const machine = new FakeMachine();
  const { agent } = agentOn(machine);
  machine.add(VM, 5, 1);
  machine.failures.set('kill', new CodedError('deadline', 'It hangs in the kernel.'));
  await assert.rejects(agent.kill(killOrder([5])), coded('deadline', /hangs/));
  assert.deepEqual(agent.report().incarnations.length, 1);
  // The incarnation is to end: a late launch does not count it as running either.
  await assert.rejects(agent.launch(launchOrder(5)), coded('stale-order', /ordered to end/));
  machine.failures.clear();
  assert.deepEqual(await agent.kill(killOrder([5])), { killed: [5] });
});

test('a launch that fails says why and leaves nothing; the same order again tries anew', async () => {
  for (const step of ['prepare', 'start', 'network'] as const) {
    const machine = new FakeMachine();
    const { agent, logged } = agentOn(machine);
    const order = launchOrder(5, { nics: [NIC] });
    machine.failures.set(step, new CodedError('failed', `${step} fails`));
    await assert.rejects(agent.launch(order), coded('failed', new RegExp(step)));
    await settled();
    assert.deepEqual([...machine.files], []);
    assert.match(logged.join('\n'), new RegExp(`could not be started .*${step} fails`));
    machine.failures.clear();
    assert.equal((await agent.launch(order)).already, false);
  }
});

test('a tidying that fails after a failed launch is logged, and nothing else comes of it', async () => {
  const machine = new FakeMachine();
  const { agent, logged } = agentOn(machine);
  machine.failures.set('start', new CodedError('failed', 'no'));
  machine.failures.set('remains', new CodedError('failed', 'cannot read'));
  await assert.rejects(agent.launch(launchOrder(5)));
  await settled();
  assert.match(logged.join('\n'), /tidying failed.*cannot read/);
  await assert.rejects(agent.tidy(), /cannot read/);
  machine.failures.clear();
  await agent.tidy();
});

test('a machine without network cards waits for no network; one with cards is in its network first', async () => {
  const machine = new FakeMachine();
  const { agent } = agentOn(machine);
  machine.gates.network.close();
  const applying = agent.applyNetwork({ ...networkPlan(4), ...term(5) });
  await agent.launch(launchOrder(5));
  const withCard = agent.launch(launchOrder(1, { vm: OTHER, slot: 4, nics: [NIC], network: networkPlan(3) }));
  await settled();
  assert(!machine.said.includes('start 1'));
  machine.gates.network.open();
  await Promise.all([applying, withCard]);
  // The networks are made by the newer of its own plan and the one in force, and with its own taps among those wanted.
  const order = machine.said.filter((line) => /made|start 1/.test(line));
  assert.deepEqual(order, ['network 4 made', 'network 4 made', 'start 1']);
  assert.deepEqual(
    machine.starting.map(({ vm }) => vm),
    [OTHER],
  );
});

test('a new agent finds what runs, obeys the present leader, and refuses what is older than what runs', async () => {
  const machine = new FakeMachine();
  const before = agentOn(machine).agent;
  const launched = await before.launch(launchOrder(5, term(9)));
  const { agent } = agentOn(machine);
  assert.equal(agent.report().incarnations[0]?.pid, launched.pid);
  // Terms are forgotten with the agent: harmless, since storage admits current generations only.
  assert.deepEqual(await agent.launch(launchOrder(5)), { ...launched, already: true });
  await assert.rejects(agent.launch(launchOrder(4)), coded('stale-order', /Generation 5/));
  assert.deepEqual(await agent.kill(killOrder([5])), { killed: [5] });
});

test('an agent that died during a start: the next one finds the process if it came up, and starts it if not', async () => {
  const up = new FakeMachine();
  // The agent is never told of the event, so the wait does not end.
  up.gates.start.close();
  void agentOn(up).agent.launch(launchOrder(5));
  await settled();
  up.add(VM, 5, 3);
  assert.equal((await agentOn(up).agent.launch(launchOrder(5))).already, true);

  const down = new FakeMachine();
  down.gates.prepare.close();
  void agentOn(down).agent.launch(launchOrder(5));
  await settled();
  down.gates.prepare = new FakeMachine().gates.prepare;
  assert.equal((await agentOn(down).agent.launch(launchOrder(5))).already, false);
  assert.deepEqual(running(down), [5]);
});

test('tidying removes what is gone, and nothing of what runs, is being started, or came up meanwhile', async () => {
  const machine = new FakeMachine();
  const { agent, logged } = agentOn(machine);
  machine.add(VM, 3, 1);
  machine.files.add(`${VM}:2`);
  machine.files.add(`${OTHER}:9`);
  machine.gates.start.close();
  const starting = agent.launch(launchOrder(5));
  await settled();
  machine.gates.remains.close();
  const tidying = agent.tidy();
  // Joins the one under way.
  assert.equal(agent.tidy(), tidying);
  machine.add(OTHER, 9, 7);
  machine.gates.remains.open();
  await tidying;
  assert.deepEqual([...machine.files], [`${VM}:3`, `${OTHER}:9`, `${VM}:5`]);
  assert.deepEqual(
    machine.said.filter((line) => /shorten|remove|taps/.test(line)),
    ['shorten 3', 'remove 2', 'shorten 9', 'taps'],
  );
  assert.match(logged.join(), /is gone; its files were removed/);
  assert.deepEqual(
    machine.starting.map(({ generation }) => generation),
    [5],
  );
  machine.gates.start.open();
  await starting;
});

test('a kill has tidied before it answers, though a tidying that saw them alive was under way', async () => {
  const machine = new FakeMachine();
  const { agent } = agentOn(machine);
  machine.add(VM, 5, 1);
  machine.gates.network.close();
  const applying = agent.applyNetwork({ ...networkPlan(1), ...term(5) });
  // Waits for its turn at the network, after it saw generation 5 alive.
  const tidying = agent.tidy();
  await settled();
  const killing = agent.kill(killOrder([5]));
  await settled();
  machine.gates.network.open();
  await Promise.all([applying, tidying, killing]);
  assert.deepEqual([...machine.files], []);
});

test('a serial log is read from its end, and no more of it than 1 MiB', async () => {
  const { agent } = agentOn(new FakeMachine());
  assert.equal(await agent.serialTail(launchOrder(5), 10), '10 bytes of 5');
  assert.equal(await agent.serialTail(launchOrder(5), 2 ** 30), '1048576 bytes of 5');
});

test('figures are those of what runs here; another incarnation is not found', () => {
  const machine = new FakeMachine();
  machine.add(VM, 5, 1);
  const { agent } = agentOn(machine);
  assert.equal(agent.figures(launchOrder(5)).cpuMs, 5_000);
  assert.throws(() => agent.figures(launchOrder(6)), { code: 'not-found' });
});
