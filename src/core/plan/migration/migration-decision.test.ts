import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseGeneration } from '../../../base/ids.ts';
import type { IncarnationObservation, MigrationTold, QmpObservation } from '../../model/observation.ts';
import type { VmRecord } from '../../model/vm.ts';
import {
  brief,
  COMPLETED,
  copying,
  decided,
  GONE,
  gens,
  MIGRATING,
  qmp,
  type Row,
  SENT,
  STOP,
  SWITCHING,
  UNWINDING,
} from '../testing/decision-table.ts';
import {
  acknowledged,
  answers,
  incarnation,
  LOST,
  NOW,
  type Seen,
  situation,
  task,
  vmRecord,
} from '../testing/sample-records.ts';
import type { Acknowledged } from '../vm/steps.ts';
import { decide } from '../vm/vm-decision.ts';

const told = (what: MigrationTold): Partial<IncarnationObservation> => ({ told: what });
/** A source that runs although it has sent everything. */
const CONTINUED: Partial<IncarnationObservation> = {
  qmp: {
    kind: 'answers',
    status: 'running',
    via: 'direct',
    ageMs: 5,
    migration: COMPLETED,
    sentTo: parseGeneration(2),
  },
};
/** A task waits for the guest to be paused. */
const PAUSING: Partial<VmRecord> = { intent: 'suspended', pauseTask: task(6) };
const COPIES: Seen = { 1: copying(3), 2: qmp('inmigrate') };
const FAILED: Partial<IncarnationObservation> = {
  qmp: {
    ...{ kind: 'answers', status: 'running', via: 'direct', ageMs: 5 },
    ...{ migration: { ...COMPLETED, status: 'failed' }, sentTo: parseGeneration(2) },
  },
};
const NOT_TOLD: Partial<Acknowledged> = {
  ...SENT,
  failure: {
    ...{ step: { do: 'allow-pause', source: incarnation(1), ms: 100 }, message: 'no answer', code: null, at: 0 },
    ...{ count: 5, host: null },
  },
};

const ROWS: readonly Row[] = [
  ['migrating: grant beside', MIGRATING, {}, { 1: qmp('running') }, {}, 'grant 2'],
  ['migrating: launch incoming', MIGRATING, {}, { 1: qmp('running') }, { granted: gens(2) }, 'launch 2'],
  [
    'migrating: listen',
    MIGRATING,
    {},
    { 1: qmp('running'), 2: qmp('inmigrate') },
    { granted: gens(2), launched: gens(2) },
    'listen',
  ],
  ['migrating: send', MIGRATING, {}, { 1: qmp('running'), 2: qmp('inmigrate') }, { ...SENT, sent: gens() }, 'send'],
  ['migrating, to be paused: its guest is halted now', MIGRATING, PAUSING, COPIES, SENT, 'halt 1'],
  ['… and before its destination is launched', MIGRATING, PAUSING, { 1: qmp('running') }, {}, 'halt 1'],
  [
    'migrating, halted: its owner is told so, and the move goes on',
    MIGRATING,
    PAUSING,
    { ...COPIES, 1: copying(3, { status: 'paused' }) },
    SENT,
    '→ migrating 2, 6 succeeded',
  ],
  ['… once', MIGRATING, { intent: 'suspended' }, { ...COPIES, 1: copying(3, { status: 'paused' }) }, SENT, 'wait'],
  [
    'M2 migrating, to be resumed: it goes on where it arrives',
    MIGRATING,
    { intent: 'running', pauseTask: task(6) },
    { ...COPIES, 1: copying(3, { status: 'paused' }) },
    SENT,
    'wait',
  ],
  ['migrating, cancelled: undone', MIGRATING, { cancelRequest: { taskId: task(1) } }, COPIES, SENT, '→ unwinding 2'],
  [
    'migrating: that another move was to be cancelled says nothing of this one',
    MIGRATING,
    { cancelRequest: { taskId: task(2) } },
    COPIES,
    SENT,
    'wait',
  ],
  [
    'migrating, complete: it is too late to cancel it',
    MIGRATING,
    { cancelRequest: { taskId: task(1) } },
    { 1: qmp('postmigrate'), 2: qmp('paused') },
    SENT,
    '→ switching 2',
  ],
  [
    'T1 unwinding what was cancelled: the task says so',
    { ...UNWINDING, cancelled: true },
    {},
    { 1: qmp('running') },
    { revoked: gens(2), ended: gens(2) },
    '→ running 2, 1 cancelled',
  ],
  [
    'M3 a guest that stands still is not sent before its disks are in use',
    MIGRATING,
    { intent: 'suspended' },
    { 1: qmp('paused'), 2: qmp('inmigrate') },
    { ...SENT, sent: gens() },
    'activate',
  ],
  [
    'M3 … nor one that was reset',
    MIGRATING,
    { intent: 'suspended' },
    { 1: qmp('prelaunch'), 2: qmp('inmigrate') },
    { ...SENT, sent: gens() },
    'activate',
  ],
  [
    'M3 … nor one that a disk error paused',
    MIGRATING,
    {},
    { 1: qmp('io-error') },
    { ...SENT, sent: gens() },
    'activate',
  ],
  ['M3 … nor one that does not say what it does', MIGRATING, {}, {}, { ...SENT, sent: gens() }, 'activate'],
  [
    'M3 … and is sent then',
    MIGRATING,
    { intent: 'suspended' },
    { 1: qmp('paused'), 2: qmp('inmigrate') },
    { ...SENT, sent: gens(), activated: gens(2) },
    'send',
  ],
  [
    'M3 that its disks were in use for an earlier destination does not count',
    MIGRATING,
    { intent: 'suspended' },
    { 1: qmp('paused'), 2: qmp('inmigrate') },
    { ...SENT, sent: gens(), activated: gens(1) },
    'activate',
  ],
  [
    'migrating: a guest that is not copied in time may be held still for longer',
    MIGRATING,
    {},
    { 1: copying(4), 2: qmp('inmigrate') },
    SENT,
    'allow-pause 100',
  ],
  ['migrating: … once', MIGRATING, {}, { 1: copying(6, { pauseLimitMs: 100 }), 2: qmp('inmigrate') }, SENT, 'wait'],
  ['migrating: that it could not be told so is no reason to give up', MIGRATING, {}, COPIES, NOT_TOLD, 'wait'],
  ['migrating: … but that it has failed is', MIGRATING, {}, { ...COPIES, 1: FAILED }, NOT_TOLD, '→ unwinding 2'],
  [
    'migrating: one that stands still already needs no more',
    MIGRATING,
    {},
    { 1: copying(9, { status: 'finish-migrate' }), 2: qmp('inmigrate') },
    SENT,
    'wait',
  ],
  ['migrating: waits', MIGRATING, {}, { 1: qmp('running'), 2: qmp('inmigrate') }, SENT, 'wait'],
  [
    'M1 both paused and complete: the commit',
    MIGRATING,
    {},
    { 1: qmp('postmigrate'), 2: qmp('paused') },
    SENT,
    '→ switching 2',
  ],
  [
    'M1 both have told so: the commit, without a question',
    MIGRATING,
    {},
    { 1: told({ kind: 'left', sentTo: parseGeneration(2), pausedMs: 40 }), 2: told({ kind: 'arrived' }) },
    SENT,
    '→ switching 2',
  ],
  [
    'M1 the source has told of another stream: no commit',
    MIGRATING,
    {},
    { 1: told({ kind: 'left', sentTo: parseGeneration(3), pausedMs: 40 }), 2: qmp('paused') },
    SENT,
    'wait',
  ],
  [
    'M1 the source’s guest stands still, and it has not sent everything: no commit',
    MIGRATING,
    {},
    { 1: told({ kind: 'ending' }), 2: told({ kind: 'arrived' }) },
    SENT,
    'wait',
  ],
  [
    'M1 what the source told before the fence is not its word after it',
    SWITCHING,
    {},
    { 1: told({ kind: 'left', sentTo: parseGeneration(2), pausedMs: 40 }), 2: qmp('paused') },
    { fencedBelow: 2 },
    'wait',
  ],
  [
    'M1 also for a new leader that sent nothing',
    MIGRATING,
    {},
    { 1: qmp('postmigrate'), 2: qmp('paused') },
    {},
    '→ switching 2',
  ],
  [
    'M1 a destination that arrived with a disk error is complete',
    MIGRATING,
    {},
    { 1: qmp('postmigrate'), 2: qmp('io-error') },
    SENT,
    '→ switching 2',
  ],
  [
    'M1 a destination that was never continued is complete',
    MIGRATING,
    {},
    { 1: qmp('postmigrate'), 2: qmp('prelaunch') },
    SENT,
    '→ switching 2',
  ],
  [
    'M1 a complete destination beside a source that runs: not believed',
    MIGRATING,
    {},
    { 1: qmp('running'), 2: qmp('paused') },
    SENT,
    'wait',
  ],
  [
    'M1 a complete destination, source lost: its memory is not believed',
    MIGRATING,
    {},
    { 1: LOST, 2: qmp('paused') },
    SENT,
    '→ starting 3, quarantine h1, 1 failed',
  ],
  [
    'migrating, source crashed: the next generation',
    MIGRATING,
    {},
    { 1: GONE, 2: qmp('inmigrate') },
    SENT,
    '→ starting 3, 1 failed',
  ],
  [
    'T2 migrating, source crashed, to be stopped: stopped',
    MIGRATING,
    STOP,
    { 1: GONE, 2: qmp('inmigrate') },
    SENT,
    '→ stopping 2, 1 failed',
  ],
  ['migrating, destination crashed: undone', MIGRATING, {}, { 1: qmp('running'), 2: GONE }, SENT, '→ unwinding 2'],
  [
    'migrating, to be stopped: undone first',
    MIGRATING,
    STOP,
    { 1: qmp('running'), 2: qmp('inmigrate') },
    SENT,
    '→ unwinding 2',
  ],
  [
    'migrating, too long: undone',
    { ...MIGRATING, deadlineAt: NOW },
    {},
    { 1: qmp('running'), 2: qmp('inmigrate') },
    SENT,
    '→ unwinding 2',
  ],
  [
    'migrating, everything was sent and the destination ended, new leader: undone, not launched anew',
    MIGRATING,
    {},
    { 1: qmp('postmigrate'), 2: GONE },
    { granted: gens(2) },
    '→ unwinding 2',
  ],
  [
    'migrating, everything was sent and the destination waits for a stream, new leader: undone',
    MIGRATING,
    {},
    { 1: qmp('postmigrate'), 2: qmp('inmigrate') },
    { granted: gens(2), launched: gens(2) },
    '→ unwinding 2',
  ],
  [
    'M1 migrating, the source was continued after it had sent everything: undone',
    MIGRATING,
    {},
    { 1: CONTINUED, 2: qmp('paused') },
    SENT,
    '→ unwinding 2',
  ],
  [
    'M1 switching, the source went on after its memory was sent: only the disk is true',
    SWITCHING,
    {},
    { 1: qmp('running'), 2: qmp('paused') },
    { fencedBelow: 2 },
    '→ starting 3, 1 failed',
  ],
  [
    'M1 a source that has sent its memory to somebody else: undone',
    MIGRATING,
    {},
    { 1: { qmp: answers('postmigrate', 3) }, 2: qmp('paused') },
    SENT,
    '→ unwinding 2',
  ],
  [
    'M1 switching, and the source has sent its memory to somebody else: only the disk is true',
    SWITCHING,
    {},
    { 1: { qmp: answers('postmigrate', 3) }, 2: qmp('paused') },
    { fencedBelow: 2 },
    '→ starting 3, 1 failed',
  ],
  [
    'M1 switching, and the run state of the source is about to follow: not yet',
    SWITCHING,
    {},
    { 1: { qmp: { ...answers('finish-migrate', 2), migration: COMPLETED } as QmpObservation }, 2: qmp('paused') },
    { fencedBelow: 2 },
    'wait',
  ],
  [
    'M1 switching, and nothing is known of the source: not yet',
    SWITCHING,
    {},
    { 1: { qmp: { kind: 'unknown' } }, 2: qmp('paused') },
    { fencedBelow: 2 },
    'wait',
  ],
  [
    'M1 switching, and the source ended: only the disk is true',
    SWITCHING,
    {},
    { 1: GONE, 2: qmp('paused') },
    { fencedBelow: 2 },
    '→ starting 3, 1 failed',
  ],
  [
    'M1 switching, and the source was lost: only the disk is true',
    SWITCHING,
    {},
    { 1: LOST, 2: qmp('paused') },
    { fencedBelow: 2 },
    '→ starting 3, 1 failed',
  ],
  [
    'M1 switching suspended, and the source ended by itself: only the disk is true',
    SWITCHING,
    { intent: 'suspended' },
    { 1: GONE, 2: qmp('paused') },
    { fencedBelow: 2 },
    '→ starting 3, 1 failed',
  ],
  [
    'switching, and the destination waits for a stream anew: the next generation',
    SWITCHING,
    {},
    { 1: qmp('postmigrate'), 2: qmp('inmigrate') },
    { fencedBelow: 2 },
    '→ starting 3, 1 failed',
  ],
  ['G5 switching: fence first', SWITCHING, {}, { 1: qmp('postmigrate'), 2: qmp('paused') }, {}, 'fence below 2'],
  [
    'switching: cont after the fence',
    SWITCHING,
    {},
    { 1: qmp('postmigrate'), 2: qmp('paused') },
    { fencedBelow: 2 },
    'cont 2',
  ],
  [
    'switching: the source is ended',
    SWITCHING,
    {},
    { 1: qmp('postmigrate'), 2: qmp('running') },
    { fencedBelow: 2 },
    'end 1 by agent',
  ],
  [
    'switching, source lost: it is fenced, so the end is not waited for',
    SWITCHING,
    {},
    { 1: LOST, 2: qmp('running') },
    { fencedBelow: 2 },
    '→ running 2, 1 succeeded',
  ],
  [
    'switching, destination crashed: the next generation',
    SWITCHING,
    {},
    { 2: GONE },
    { fencedBelow: 2 },
    '→ starting 3, 1 failed',
  ],
  [
    'T2 switching, destination crashed, to be stopped: stopped',
    SWITCHING,
    STOP,
    { 2: GONE },
    { fencedBelow: 2 },
    '→ stopping 2, 1 failed',
  ],
  [
    'switching suspended: arrives paused',
    SWITCHING,
    { intent: 'suspended' },
    { 2: qmp('paused') },
    { fencedBelow: 2, ended: gens(1) },
    '→ running 2, 1 succeeded',
  ],
  ['M2 unwinding: revoke first', UNWINDING, {}, { 1: qmp('postmigrate'), 2: qmp('paused') }, {}, 'revoke 2'],
  [
    'M2 unwinding: the destination is ended before the source goes on',
    UNWINDING,
    {},
    { 1: qmp('postmigrate'), 2: qmp('paused') },
    { revoked: gens(2) },
    'end 2 by agent',
  ],
  [
    'unwinding: over',
    UNWINDING,
    {},
    { 1: qmp('postmigrate') },
    { revoked: gens(2), ended: gens(2) },
    '→ running 2, 1 failed',
  ],
];

for (const row of ROWS) test(row[0], () => assert.equal(decided(row), row.at(-1)));

test('a source that has just completed is asked again at once: no event tells when its run state follows', () => {
  const decideOn = (source: Partial<IncarnationObservation>, destination: Partial<IncarnationObservation>) =>
    decide(situation(vmRecord(MIGRATING), { 1: source, 2: destination }, { acknowledged: acknowledged(SENT) }));
  const ending = { ...answers('finish-migrate', 2), migration: COMPLETED } as const;
  const soon = decideOn({ qmp: ending }, qmp('paused'));
  assert.ok(soon.kind === 'wait' && soon.againInMs <= 5);
  const copying = decideOn(qmp('running'), qmp('inmigrate'));
  assert.ok(copying.kind === 'wait' && copying.againInMs > 5);
});

test('M2 a source that has sent everything to a destination that has nothing is undone, whoever sent it, also where its guest is paused', () => {
  const left = (ms: number, destination: Partial<IncarnationObservation>): string => {
    const known = acknowledged({ ...SENT, standingSince: NOW - ms });
    const seen = { 1: { qmp: answers('postmigrate', 2) }, 2: destination };
    return brief(decide(situation(vmRecord(MIGRATING, { intent: 'suspended' }), seen, { acknowledged: known })));
  };
  // The destination may still load what was sent just now.
  assert.deepEqual([left(9_900, qmp('inmigrate')), left(10_000, qmp('inmigrate'))], ['wait', '→ unwinding 2']);
  assert.equal(left(60_000, qmp('paused')), '→ switching 2');
});

test('a guest that stands still for the end of its move for too long goes on where it is; one that its owner paused waits', () => {
  const standing = (ms: number, more: Partial<VmRecord> = {}): string => {
    const known = acknowledged({ ...SENT, standingSince: NOW - ms });
    const seen = { 1: told({ kind: 'ending' }), 2: qmp('inmigrate') };
    return brief(decide(situation(vmRecord(MIGRATING, more), seen, { acknowledged: known })));
  };
  assert.deepEqual([standing(9_900), standing(10_000)], ['wait', '→ unwinding 2']);
  assert.equal(standing(60_000, { intent: 'suspended' }), 'wait');
});
