/** Which QEMUs are asked over QMP, and how long the leader waits for their answers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostName } from '../../../base/ids.ts';
import type { HostObservation, QmpObservation } from '../../model/observation.ts';
import type { VmPhase } from '../../model/vm.ts';
import { MIGRATING } from '../../plan/testing/decision-table.ts';
import { answers, incarnation, seenHost, VM, vmRecord } from '../../plan/testing/sample-records.ts';
import { ManualClock, settled } from '../../ports/testing/manual-clock.ts';
import { Evidence } from './evidence.ts';
import { Questions } from './questions.ts';

const RUNNING: VmPhase = { kind: 'running', incarnation: incarnation(1) };
const STARTING: VmPhase = { kind: 'starting', incarnation: incarnation(1), reason: 'requested', avoid: [] };

/** QEMUs that answer when the test says so. */
function world() {
  const clock = new ManualClock();
  const evidence = new Evidence(clock);
  const asked: number[] = [];
  const late: string[] = [];
  const open = new Map<number, (seen: QmpObservation) => void>();
  const gone = new Set<HostName>();
  const agents = new Map<HostName, HostObservation['agent']>();
  const questions = new Questions({
    clock,
    ask: (_vm, { generation }) => {
      asked.push(generation);
      return new Promise((resolve) => void open.set(generation, resolve));
    },
    observer: {
      mayBeGone: (name) => gone.has(name),
      see: (name) => seenHost(1, { agent: agents.get(name) ?? 'alive' }),
    },
    intervalMs: () => 5_000,
    onLateAnswer: (id) => void late.push(id),
  });
  const answer = async (generation: number, status: string): Promise<void> => {
    open.get(generation)?.(answers(status));
    await settled();
  };
  /** Whether a wait is over by now. */
  const isOver = async (wait: Promise<void> | null): Promise<boolean> => {
    let over = false;
    void wait?.then(() => {
      over = true;
    });
    await settled();
    return over;
  };
  /** Asks as a look at the VM in this phase does, and gets its answers. */
  const look = async (phase: VmPhase, status = 'running'): Promise<number[]> => {
    asked.length = 0;
    const wait = questions.refresh(vmRecord(phase), evidence);
    const were = [...asked];
    for (const generation of were) await answer(generation, status);
    await wait;
    return were;
  };
  return { clock, evidence, questions, asked, late, gone, agents, answer, isOver, look };
}

test('a VM that runs quietly is asked once per look, and not again for what woke it in between', async () => {
  const { clock, look } = world();
  assert.deepEqual(await look(RUNNING), [1]);
  assert.deepEqual(await look(RUNNING), [], 'just asked');
  await clock.advance(2_250);
  assert.deepEqual(await look(RUNNING), []);
  await clock.advance(1);
  assert.deepEqual(await look(RUNNING), [1]);
});

test('whoever is in doubt is asked, and nobody else', async () => {
  const { evidence, look } = world();
  await look(MIGRATING);
  evidence.doubt(incarnation(2).generation);
  assert.deepEqual(await look(MIGRATING), [2]);
  evidence.doubt('all');
  assert.deepEqual(await look(MIGRATING), [1, 2]);
});

test('a host that may be gone is not asked: its verdict does not wait for its QEMUs', async () => {
  const { gone, look } = world();
  gone.add(incarnation(1, 1).host);
  assert.deepEqual(await look(RUNNING), []);
  assert.deepEqual(await look(MIGRATING), [2]);
});

test('V3 before its launch nobody is asked, unless the leader before may have launched it', async () => {
  const first = world();
  assert.deepEqual(await first.look(STARTING), []);
  first.agents.set(incarnation(1).host, 'silent');
  assert.deepEqual(await first.look(STARTING), [1], 'its agent can launch nothing now');

  const second = world();
  second.evidence.failed({ do: 'launch', incarnation: incarnation(1), incoming: false }, new Error('no answer'));
  assert.deepEqual(await second.look(STARTING), [1], 'a launch that failed may have happened');

  const third = world();
  third.evidence.acknowledged.wasLaunched(incarnation(1).generation, { listens: false });
  assert.deepEqual(await third.look(STARTING), [1]);
});

test('both ends of a migration are asked at the same time, and both are waited for', async () => {
  const { evidence, questions, asked, answer, isOver } = world();
  const wait = questions.refresh(vmRecord(MIGRATING), evidence);
  assert.deepEqual(asked, [1, 2]);
  await answer(2, 'inmigrate');
  assert.equal(await isOver(wait), false);
  await answer(1, 'running');
  assert.equal(await isOver(wait), true);
});

test('a wait that is ended leaves its question open: the answer counts, and is told', async () => {
  const { evidence, questions, late, answer, isOver } = world();
  const wait = questions.refresh(vmRecord(RUNNING), evidence);
  assert.equal(await isOver(wait), false);
  questions.interrupt(VM);
  assert.deepEqual([await isOver(wait), late], [true, []]);
  await answer(1, 'paused');
  assert.deepEqual(late, [VM]);
  assert.deepEqual(evidence.answerOf(incarnation(1).generation)?.seen, answers('paused'));
  questions.interrupt(VM);
});

test('an answer that a fence overtook is neither noted nor told', async () => {
  const { evidence, questions, late, answer } = world();
  void questions.ask(vmRecord(MIGRATING), [incarnation(1)], evidence);
  questions.interrupt(VM);
  const below = incarnation(2).generation;
  evidence.acknowledged.fenced(below);
  evidence.carriedOut({ do: 'fence', below });
  await answer(1, 'postmigrate');
  assert.deepEqual([evidence.answerOf(incarnation(1).generation), late], [null, []]);
});

test('a question that cannot be asked is a mistake of the look, not silence of the QEMU', async () => {
  const { clock, evidence } = world();
  const questions = new Questions({
    clock,
    ask: () => Promise.reject(new Error('h1 is not in the cluster')),
    observer: { mayBeGone: () => false, see: () => seenHost(1) },
    intervalMs: () => 5_000,
    onLateAnswer: () => undefined,
  });
  await assert.rejects(questions.refresh(vmRecord(RUNNING), evidence) ?? Promise.resolve(), /not in the cluster/);
  assert.equal(evidence.answerOf(incarnation(1).generation), null);
});

test('a stopped VM has nobody to ask', async () => {
  const { questions, evidence } = world();
  assert.equal(questions.refresh(vmRecord({ kind: 'stopped' }), evidence), null);
});
