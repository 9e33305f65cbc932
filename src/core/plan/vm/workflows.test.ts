/**
 * The tables of workflows, checked against decisions: in a world in which every order works, each workflow takes
 * exactly its steps; if it is given up after any of them it takes back what its table says; and nothing leads back from
 * an irreversible step.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Generation } from '../../../base/ids.ts';
import type { IncarnationObservation } from '../../model/observation.ts';
import { currentIncarnation, type Incarnation, type VmRecord } from '../../model/vm.ts';
import { COMPLETED } from '../testing/decision-table.ts';
import {
  acknowledged,
  answers,
  host,
  incarnation,
  LOST,
  NOW,
  seenHost,
  situation,
  task,
  vmRecord,
} from '../testing/sample-records.ts';
import type { Acknowledged, Step, WorkflowPoint } from './steps.ts';
import { WORKFLOWS } from './steps.ts';
import { decide } from './vm-decision.ts';

/** More than any workflow has, its undoing included. */
const THINGS_MAX = 40;

/** QEMUs and storage that carry out every order at once. `lost`: hosts that nobody reaches. */
class IdealWorld {
  vm: VmRecord;
  readonly taken: WorkflowPoint[] = [];
  /** The generation whose guest could run after each commit. */
  readonly current: (Generation | null)[] = [];
  readonly #lost: ReadonlySet<Incarnation['host']>;
  readonly #qemus = new Map<Generation, string>();
  readonly #acks = {
    fencedBelow: 0,
    granted: new Set<Generation>(),
    launched: new Set<Generation>(),
    listening: new Set<Generation>(),
    sent: new Set<Generation>(),
    revoked: new Set<Generation>(),
    ended: new Set<Generation>(),
    poweredDown: new Map<Generation, number>(),
  };
  #stream: { readonly from: Generation; readonly to: Generation } | null = null;

  constructor(vm: VmRecord, lost: readonly Incarnation['host'][] = []) {
    this.vm = vm;
    this.#lost = new Set(lost);
    const running = currentIncarnation(vm.phase);
    if (running !== null) this.#qemus.set(running.generation, 'running');
  }

  /** Continues until nothing is left to do, or until `last` was done. */
  run(last?: WorkflowPoint): this {
    for (let things = 0; things < THINGS_MAX; things++) {
      const decision = decide(this.#situation());
      if (decision.kind === 'wait') {
        if (!this.#timePasses()) return this;
        continue;
      }
      const point: WorkflowPoint =
        decision.kind === 'do'
          ? decision.step.do
          : `commit:${decision.kind === 'commit' ? decision.vm.phase.kind : 'removed'}`;
      this.taken.push(point);
      if (decision.kind === 'do') this.#carryOut(decision.step);
      else if (decision.kind === 'commit') {
        this.vm = decision.vm;
        const { phase } = this.vm;
        this.current.push(phase.kind === 'stopping' ? null : (currentIncarnation(phase)?.generation ?? null));
      }
      if (point === last) return this;
    }
    assert.fail(`it does not end: ${this.taken.join(', ')}`);
  }

  #situation() {
    const seen: Record<number, Partial<IncarnationObservation>> = {};
    for (const [generation, status] of this.#qemus) {
      const migration = { ...COMPLETED, status: 'active' } as const;
      const qmp = answers(status);
      seen[generation] = {
        qmp:
          qmp.kind === 'answers' && this.#stream?.from === generation && status === 'running'
            ? { ...qmp, migration }
            : qmp,
      };
    }
    for (const generation of this.#acks.ended) seen[generation] = { process: 'absent' };
    const known: Partial<Acknowledged> = this.#acks;
    const plain = situation(this.vm, seen, { acknowledged: acknowledged(known), monotonicMs: NOW });
    const see = (which: Incarnation): IncarnationObservation =>
      this.#lost.has(which.host) ? { ...plain.see(which), ...LOST } : plain.see(which);
    const seeHost = (name: Incarnation['host']) =>
      this.#lost.has(name) ? seenHost(1, { ...LOST.host, host: name }) : plain.cluster.seeHost(name);
    return { ...plain, see, cluster: { ...plain.cluster, seeHost } };
  }

  /** Simulates what happens without an order; false if nothing does. */
  #timePasses(): boolean {
    const stream = this.#stream;
    if (stream !== null) {
      this.#stream = null;
      this.#qemus.set(stream.from, 'postmigrate').set(stream.to, 'paused');
      return true;
    }
    const pressed = [...this.#acks.poweredDown.keys()].find((each) => this.#qemus.get(each) === 'running');
    if (pressed !== undefined) this.#qemus.set(pressed, 'shutdown');
    return pressed !== undefined;
  }

  #carryOut(step: Step): void {
    const acks = this.#acks;
    switch (step.do) {
      case 'fence':
        acks.fencedBelow = step.below;
        return;
      case 'grant':
        acks.granted.add(step.generation);
        return;
      case 'revoke':
        acks.granted.delete(step.generation);
        acks.revoked.add(step.generation);
        return;
      case 'launch':
        acks.launched.add(step.incarnation.generation);
        if (step.incoming) acks.listening.add(step.incarnation.generation);
        this.#qemus.set(step.incarnation.generation, step.incoming ? 'inmigrate' : 'prelaunch');
        return;
      case 'cont':
        this.#qemus.set(step.incarnation.generation, 'running');
        return;
      case 'power-down':
        acks.poweredDown.set(step.incarnation.generation, NOW);
        return;
      case 'end':
        acks.ended.add(step.incarnation.generation);
        this.#qemus.delete(step.incarnation.generation);
        return;
      case 'send':
        acks.sent.add(step.destination.generation);
        this.#stream = { from: step.source.generation, to: step.destination.generation };
        return;
      case 'cancel-send':
        this.#stream = null;
        return;
      default:
        assert.fail(`${step.do} belongs to no workflow`);
    }
  }
}

type Name = keyof typeof WORKFLOWS;

const RUNNING = vmRecord({ kind: 'running', incarnation: incarnation(1) });
const STOP: Partial<VmRecord> = {
  intent: 'stopped',
  stopRequest: { mode: 'hard', patienceMs: 0, taskId: task(9) },
};

/** A VM at the beginning of each workflow. */
const BEGINNINGS: Readonly<Record<Name, () => IdealWorld>> = {
  start: () => new IdealWorld(vmRecord({ kind: 'stopped' })),
  stop: () =>
    new IdealWorld({
      ...RUNNING,
      intent: 'stopped',
      stopRequest: { mode: 'acpi', patienceMs: 60_000, taskId: task(1) },
    }),
  migrate: () => new IdealWorld({ ...RUNNING, migrationRequest: { to: null, taskId: task(1), askedAt: NOW } }),
  recover: () => new IdealWorld(RUNNING, [host(1)]),
};

/** The wish that gives each workflow up. */
const GIVING_UP: Readonly<Record<Name, (vm: VmRecord) => VmRecord>> = {
  start: (vm) => ({ ...vm, ...STOP }),
  stop: (vm) => ({ ...vm, intent: 'running' }),
  migrate: (vm) => ({ ...vm, cancelRequest: { taskId: task(1) } }),
  recover: (vm) => ({ ...vm, ...STOP }),
};

const NAMES = Object.keys(WORKFLOWS) as Name[];

for (const name of NAMES) {
  const steps = WORKFLOWS[name];
  test(`${name}: when nothing goes wrong, decisions take the table’s steps in their order`, () => {
    const { taken } = BEGINNINGS[name]().run();
    assert.deepEqual(
      [...new Set(taken)],
      steps.map(({ step }) => step),
    );
  });

  for (const [i, { step }] of steps.entries()) {
    const isPast = steps.slice(0, i + 1).some(({ irreversible }) => irreversible === true);

    test(`${name}: given up after ${step}, what was done is taken back`, () => {
      const world = BEGINNINGS[name]().run(step);
      world.vm = GIVING_UP[name](world.vm);
      const before = world.taken.length;
      const after = world.run().taken.slice(before);
      const last = steps[i];
      for (const undo of last?.undo ?? []) assert.ok(after.includes(undo), `${undo} is missing in ${after.join(', ')}`);
    });

    if (isPast)
      test(`${name}: from ${step} on nothing leads back to the incarnation that was current before`, () => {
        for (const wish of [GIVING_UP[name], (vm: VmRecord) => ({ ...vm, ...STOP })]) {
          const world = BEGINNINGS[name]().run(step);
          world.vm = wish(world.vm);
          world.current.length = 0;
          world.run();
          assert.ok(!world.current.includes(incarnation(1).generation), world.taken.join(', '));
        }
      });
  }
}

test('migrate: given up before the commit, the source goes on and the destination is gone, whatever had been done', () => {
  for (const { step, irreversible } of WORKFLOWS.migrate) {
    if (irreversible === true) break;
    const world = BEGINNINGS.migrate().run(step);
    world.vm = GIVING_UP.migrate(world.vm);
    world.run();
    assert.deepEqual(world.vm.phase, { kind: 'running', incarnation: incarnation(1) }, step);
    assert.deepEqual(world.vm.generation, 2, 'a number that was given is not given again');
  }
});

test('start: given up after any step, the VM is stopped and its generation fenced', () => {
  for (const { step } of WORKFLOWS.start) {
    const world = BEGINNINGS.start().run(step);
    world.vm = GIVING_UP.start(world.vm);
    world.run();
    assert.deepEqual(
      [world.vm.phase.kind, world.taken.at(-1), world.taken.at(-2)],
      ['stopped', 'commit:stopped', 'fence'],
    );
  }
});

test('stop: a start that is asked for meanwhile is the next generation’s, after the stop', () => {
  for (const { step } of WORKFLOWS.stop) {
    const world = BEGINNINGS.stop().run(step);
    world.vm = GIVING_UP.stop(world.vm);
    world.run();
    assert.ok(world.taken.includes('commit:stopped'), step);
    assert.deepEqual([world.vm.phase.kind, world.vm.generation], ['running', 2], step);
  }
});
