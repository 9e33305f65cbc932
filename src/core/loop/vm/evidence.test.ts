/**
 * A leader's knowledge of a VM's incarnations: the rules of docs/specs/generations.md that observations have to keep.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CodedError } from '../../../base/errors.ts';
import { type Generation, parseGeneration } from '../../../base/ids.ts';
import type { IncarnationObservation, MigrationTold } from '../../model/observation.ts';
import { MIGRATING, SWITCHING } from '../../plan/testing/decision-table.ts';
import {
  answers,
  host,
  incarnation,
  NOW,
  node,
  seenHost,
  silentKernel,
  task,
  VM,
  vmRecord,
} from '../../plan/testing/sample-records.ts';
import { ManualClock } from '../../ports/testing/manual-clock.ts';
import { Evidence, type HostSight, unaskedObservation } from './evidence.ts';

const g = parseGeneration;
const [ONE, TWO] = [g(1), g(2)];
const LEFT: MigrationTold = { kind: 'left', sentTo: TWO, pausedMs: 40 };

/** Hosts that are alive. `since`: from when on reports about processes count, as they were asked. */
function hosts(more: Parameters<typeof seenHost>[1] = {}): HostSight & { readonly since: number[] } {
  const since: number[] = [];
  return {
    since,
    see: (name) => ({ ...seenHost(1, more), host: name }),
    processState: (_host, _vm, _generation, sinceMs) => {
      since.push(sinceMs);
      return 'present';
    },
  };
}

function evidenceOf() {
  const clock = new ManualClock();
  const evidence = new Evidence(clock);
  const see = (generation: Generation, sight: HostSight = hosts()): IncarnationObservation =>
    evidence.observe(VM, incarnation(generation, generation), sight);
  return {
    clock,
    evidence,
    see,
    doubts: () => {
      const doubted = evidence.takeDoubts();
      return doubted === 'all' ? doubted : [...doubted];
    },
    /** Asks and is answered at once. */
    answered: (generation: Generation, status: string) =>
      evidence.answered(evidence.ask(), generation, answers(status)),
    /** The answers of QMP and its events about a generation, briefly. */
    brief: (generation: Generation): string => {
      const { qmp, told } = see(generation);
      return `${qmp.kind === 'answers' ? qmp.status : qmp.kind}${told === null ? '' : ` ${told.kind}`}`;
    },
  };
}

test('at the beginning of a term nothing is known of a QEMU, and whoever asks asks all of them', () => {
  const { see, doubts } = evidenceOf();
  assert.deepEqual([see(ONE).qmp, see(ONE).told], [{ kind: 'unknown' }, null]);
  assert.deepEqual(see(ONE), unaskedObservation(VM, incarnation(1, 1), hosts()));
  assert.equal(doubts(), 'all');
  assert.deepEqual(doubts(), []);
});

test('an answer gets older by the leader’s monotonic clock', async () => {
  const { clock, see, answered } = evidenceOf();
  answered(ONE, 'running');
  await clock.advance(321);
  const { qmp } = see(ONE);
  assert.deepEqual(qmp, { ...answers('running'), ageMs: 321 });
});

test('V1 a host whose kernel and agent are silent has silent QEMUs, whatever they said before', () => {
  const { see, answered } = evidenceOf();
  answered(ONE, 'running');
  const silent = { agent: 'silent', kernel: silentKernel(1, [node(1)]) } as const;
  assert.deepEqual(see(ONE, hosts(silent)).qmp, { kind: 'silent', paths: ['direct', 'via s1'], ageMs: 0 });
  // An agent that answers is another path to the host.
  assert.equal(see(ONE, hosts({ ...silent, agent: 'alive' })).qmp.kind, 'answers');
});

test('V3 a report of a host counts for an incarnation only if it is younger than the launch that was acknowledged', async () => {
  const { clock, evidence, see } = evidenceOf();
  const before = hosts();
  see(ONE, before);
  await clock.advance(500);
  evidence.carriedOut({ do: 'launch', incarnation: incarnation(1), incoming: false });
  const after = hosts();
  see(ONE, after);
  assert.deepEqual([before.since, after.since], [[0], [1_500]]);
});

test('what a QEMU tells by itself takes the place of its last answer, until it is asked again', async () => {
  const { clock, evidence, answered, brief } = evidenceOf();
  answered(ONE, 'running');
  evidence.heard(ONE, { kind: 'ending' });
  assert.equal(brief(ONE), 'unknown ending');
  evidence.heard(ONE, LEFT);
  assert.equal(evidence.lastToldAt, 1_000);
  await clock.advance(1);
  answered(ONE, 'postmigrate');
  assert.deepEqual([brief(ONE), evidence.lastToldAt], ['postmigrate', null]);
});

test('an answer to a question that was asked before the event does not make the event undone', async () => {
  const { clock, evidence, brief } = evidenceOf();
  const asked = evidence.ask();
  await clock.advance(5);
  evidence.heard(ONE, LEFT);
  evidence.answered(asked, ONE, answers('running'));
  assert.equal(brief(ONE), 'running left');
});

test('an event that only says to ask ends what was told, and is a reason to ask that QEMU and no other', () => {
  const { evidence, brief, doubts } = evidenceOf();
  evidence.takeDoubts();
  evidence.heard(ONE, LEFT);
  evidence.hasChanged(ONE);
  assert.equal(brief(ONE), 'unknown');
  assert.deepEqual(doubts(), [ONE]);
});

test('M1 what a source said before its fence is not its word after it; whoever is not fenced goes on as before', () => {
  const { evidence, answered, brief } = evidenceOf();
  answered(ONE, 'postmigrate');
  evidence.heard(ONE, LEFT);
  answered(TWO, 'paused');
  evidence.acknowledged.fenced(TWO);
  evidence.carriedOut({ do: 'fence', below: TWO });
  assert.deepEqual([brief(ONE), brief(TWO)], ['unknown', 'paused']);
});

test('M1 a question that was under way during the fence tells nothing about the fenced one afterwards', () => {
  const { evidence, brief } = evidenceOf();
  const asked = evidence.ask();
  evidence.acknowledged.fenced(TWO);
  evidence.carriedOut({ do: 'fence', below: TWO });
  assert.equal(evidence.answered(asked, ONE, answers('postmigrate')), false);
  assert.equal(evidence.answered(asked, TWO, answers('paused')), true);
  assert.deepEqual([brief(ONE), brief(TWO)], ['unknown', 'paused']);
  assert.equal(evidence.answered(evidence.ask(), ONE, answers('running')), true, 'asked after it');
  assert.equal(brief(ONE), 'running');
});

test('M1 in whatever order answers, events and fences come, nothing that is known of a fenced incarnation is from before its fence', () => {
  const move = fc.oneof(
    fc.record({ kind: fc.constant('ask' as const) }),
    fc.record({ kind: fc.constantFrom('answer' as const, 'told' as const), of: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ kind: fc.constant('fence' as const), of: fc.integer({ min: 2, max: 3 }) }),
  );
  fc.assert(
    fc.property(fc.array(move, { maxLength: 30 }), (moves) => {
      const { evidence, see } = evidenceOf();
      let asked = [{ by: evidence.ask(), fencesBefore: 0 }];
      const lastKnown = new Map<number, number>();
      const fencedAt = new Map<number, number>();
      let time = 0;
      for (const each of moves) {
        time++;
        if (each.kind === 'ask') asked = [...asked, { by: evidence.ask(), fencesBefore: time }];
        if (each.kind === 'told') {
          evidence.heard(g(each.of), { kind: 'arrived' });
          lastKnown.set(each.of, time);
        }
        // The oldest question is answered last: answers come in any order.
        const question = each.kind === 'answer' ? asked.shift() : undefined;
        if (each.kind === 'answer' && question !== undefined)
          if (evidence.answered(question.by, g(each.of), answers('running')))
            lastKnown.set(each.of, question.fencesBefore);
        if (each.kind === 'fence') {
          evidence.acknowledged.fenced(g(each.of));
          evidence.carriedOut({ do: 'fence', below: g(each.of) });
          for (let n = 1; n < each.of; n++) fencedAt.set(n, time);
        }
        for (const [n, fenced] of fencedAt) {
          const { qmp, told } = see(g(n));
          if (qmp.kind !== 'unknown' || told !== null)
            assert.ok((lastKnown.get(n) ?? 0) > fenced, `generation ${n} was fenced since`);
        }
      }
    }),
    { seed: 20_261_130, numRuns: 300 },
  );
});

test('an order is a reason to ask whom it changed', () => {
  const { evidence, doubts } = evidenceOf();
  evidence.takeDoubts();
  evidence.carriedOut({ do: 'cont', incarnation: incarnation(2) });
  evidence.carriedOut({ do: 'cancel-send', source: incarnation(1) });
  evidence.carriedOut({ do: 'grant', generation: g(3) });
  assert.deepEqual(doubts(), [2, 1]);
});

test('a destination is asked once after sending began: what it said before the stream does not count', () => {
  const { evidence, answered, brief } = evidenceOf();
  answered(ONE, 'running');
  answered(TWO, 'inmigrate');
  evidence.carriedOut({ do: 'send', source: incarnation(1), destination: incarnation(2, 2) });
  assert.deepEqual([brief(ONE), brief(TWO)], ['running', 'unknown']);
});

test('of a generation that was just committed there is nobody to ask yet, and its guest cannot have run', () => {
  const { evidence } = evidenceOf();
  const before = vmRecord({ kind: 'running', incarnation: incarnation(1) });
  const after = vmRecord({ kind: 'starting', incarnation: incarnation(2, 2), reason: 'lost', avoid: [] });
  assert.deepEqual(evidence.committed(before, after), [ONE]);
  assert.equal(evidence.answerOf(TWO)?.seen.kind, 'unknown');
  assert.deepEqual([...evidence.acknowledged.neverContinued], [[TWO, null]]);
});

test('what is known of a generation that no record names any more is forgotten, and of the others kept', () => {
  const { evidence, answered, brief } = evidenceOf();
  for (const generation of [ONE, TWO]) {
    answered(generation, 'paused');
    evidence.acknowledged.granted.add(generation);
    evidence.acknowledged.wasLaunched(generation, { listens: true });
  }
  const running = vmRecord({ kind: 'running', incarnation: incarnation(2, 2) });
  assert.deepEqual(evidence.committed(vmRecord(SWITCHING), running), [ONE]);
  const { granted, launched, listening } = evidence.acknowledged;
  assert.deepEqual([brief(ONE), brief(TWO)], ['unknown', 'paused']);
  for (const known of [granted, launched, listening]) assert.deepEqual([...known], [TWO]);
  assert.deepEqual(evidence.committed(running, null), [TWO], 'the record is gone');
});

test('a commit that leaves the phase as it is forgets nobody, but ends what failed and what was reset', () => {
  const { evidence } = evidenceOf();
  const vm = vmRecord({ kind: 'running', incarnation: incarnation(1) });
  evidence.failed({ do: 'reset', incarnation: incarnation(1) }, new Error('no answer'));
  evidence.acknowledged.reset = task(1);
  assert.deepEqual(evidence.committed(vm, { ...vm, resetRequest: null }), []);
  assert.deepEqual([evidence.acknowledged.failure, evidence.acknowledged.reset], [null, null]);
});

test('how long a phase has lasted is what this leader saw of it: a new leader starts at 0', async () => {
  const { clock, evidence } = evidenceOf();
  const vm = vmRecord(MIGRATING, { phaseSince: NOW - 3_600_000 });
  assert.equal(evidence.phaseForMs(vm), 0);
  evidence.notePhase(vm);
  await clock.advance(700);
  const cancelled = { ...vm, cancelRequest: { taskId: task(1) } };
  evidence.notePhase(cancelled);
  assert.equal(evidence.phaseForMs(cancelled), 700, 'another change of the record is no new phase');
  const anew = { ...vm, generation: g(4), phaseSince: NOW };
  assert.equal(evidence.phaseForMs(anew), 0);
  evidence.notePhase(anew);
  await clock.advance(5);
  assert.equal(evidence.phaseForMs(anew), 5);
});

test('failures of one step in a row are counted; another step, or one that is carried out, begins anew', async () => {
  const { clock, evidence, doubts } = evidenceOf();
  const launch = { do: 'launch', incarnation: incarnation(1, 3), incoming: false } as const;
  const refusal = new CodedError('bad-input', 'no such machine');
  assert.equal(evidence.failed(launch, refusal).count, 1);
  await clock.advance(10);
  assert.deepEqual(evidence.failed(launch, refusal), {
    step: launch,
    message: 'no such machine',
    code: 'bad-input',
    at: 1_010,
    count: 2,
    host: host(3),
  });
  const fence = { do: 'fence', below: TWO } as const;
  const failure = evidence.failed(fence, new Error('a mistake'));
  assert.deepEqual([failure.count, failure.code, failure.host], [1, null, null]);
  evidence.carriedOut(fence);
  assert.equal(evidence.acknowledged.failure, null);
  assert.equal(doubts(), 'all', 'nobody knows what a failed step did');
});

test('a process that three orders did not end resists', () => {
  const { evidence } = evidenceOf();
  const end = { do: 'end', incarnation: incarnation(1), by: 'agent' } as const;
  const resisted = [1, 2, 3].map(() => {
    evidence.failed(end, new CodedError('deadline', 'no answer'));
    return evidence.acknowledged.resisted.has(ONE);
  });
  assert.deepEqual(resisted, [false, false, true]);
});

test('the pause of a move is measured from the commit of switching to the destination’s cont, by the leader that did both', async () => {
  const { clock, evidence } = evidenceOf();
  const cont = { do: 'cont', incarnation: incarnation(2, 2) } as const;
  evidence.carriedOut(cont);
  assert.equal(evidence.acknowledged.continued, null);
  evidence.committed(vmRecord(MIGRATING), vmRecord(SWITCHING));
  await clock.advance(12);
  evidence.carriedOut(cont);
  assert.deepEqual(evidence.acknowledged.continued, { generation: TWO, afterMs: 12 });
});

test('a source stands since it was first seen to, until it does not', async () => {
  const { clock, evidence } = evidenceOf();
  evidence.noteStanding(true);
  await clock.advance(30);
  evidence.noteStanding(true);
  assert.equal(evidence.acknowledged.standingSince, 1_000);
  evidence.noteStanding(false);
  assert.equal(evidence.acknowledged.standingSince, null);
});

test('a disk error lasts until its guest has run for 10 s since it was continued; each try asks storage to grant again', async () => {
  const { clock, evidence } = evidenceOf();
  const { acknowledged } = evidence;
  acknowledged.granted.add(ONE);
  assert.equal(evidence.noteDiskError(), 1_000);
  await clock.advance(100);
  assert.equal(evidence.noteDiskError(), 1_000, 'since it began');
  evidence.carriedOut({ do: 'cont', incarnation: incarnation(1) });
  assert.deepEqual(acknowledged.diskError, { since: 1_000, continuedAt: 1_100 });
  assert.equal(acknowledged.granted.has(ONE), false);
  await clock.advance(10_000);
  assert.equal(evidence.noteRunning(), false);
  await clock.advance(1);
  assert.equal(evidence.noteRunning(), true);
  assert.equal(acknowledged.diskError, null);
});

test('when the power button was pressed is kept by generation', async () => {
  const { clock, evidence } = evidenceOf();
  await clock.advance(5);
  evidence.carriedOut({ do: 'power-down', incarnation: incarnation(1) });
  assert.deepEqual([...evidence.acknowledged.poweredDown], [[ONE, 1_005]]);
});
