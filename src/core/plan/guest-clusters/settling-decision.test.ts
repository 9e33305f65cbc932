import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ReadyCheck } from '../../model/guest-cluster.ts';
import type { VmRecord } from '../../model/vm.ts';
import {
  clusterOf,
  guestClusterRecord,
  hostRecord,
  incarnation,
  memberRecord,
  NOW,
  seenHost,
  sharedDiskRecord,
  situation,
  task,
} from '../testing/sample-records.ts';
import type { Decision, Readiness } from '../vm/decision.ts';
import type { Verdict } from '../vm/verdict.ts';
import { decideSettling, NO_AGENT_MS, SETTLE_MS } from './settling-decision.ts';

const DISK = sharedDiskRecord().id;
const AT = incarnation(1, 1);
const SPEC = memberRecord(1, { kind: 'running', incarnation: AT }).spec;

function decided(
  {
    has,
    verdict = 'running',
    forMs = 1_000,
    readiness = { kind: 'unasked' },
    check,
  }: {
    readonly has: boolean;
    readonly verdict?: Verdict;
    readonly forMs?: number;
    readonly readiness?: Readiness;
    readonly check?: ReadyCheck;
  },
  more: Partial<VmRecord> = {},
): Decision | null {
  const spec = { ...SPEC, sharedDisks: [{ disk: DISK, lun: 0 }] };
  const vm = memberRecord(1, { kind: 'running', incarnation: AT }, { settling: { registered: [DISK] }, spec, ...more });
  const hosts = [{ record: hostRecord(1), seen: seenHost(1) }];
  const cluster = clusterOf({
    vms: [vm],
    hosts,
    guestClusters: [guestClusterRecord([vm], check === undefined ? {} : { readyCheck: check })],
    sharedDisks: [sharedDiskRecord()],
  });
  const seen = { ...cluster, registeredOn: () => (has ? [DISK] : []) };
  return decideSettling(situation(vm, {}, { cluster: seen, phaseForMs: forMs, readiness }), AT, verdict);
}

test('GC12 a member that runs with the keys it had is seen healthy', () => {
  const well = decided({ has: true });
  assert(well?.kind === 'commit');
  assert.equal(well.event.kind, 'member-healthy');
  assert.equal(well.vm.settling, undefined);
});

test('GC12 a member that lost a key, or does not run, is waited for, and no longer than five minutes', () => {
  const lost = decided({ has: false });
  assert.match(lost?.kind === 'wait' ? lost.why : '', /has lost its key on data/);
  const halted = decided({ has: true, verdict: 'disk-error' });
  assert.match(halted?.kind === 'wait' ? halted.why : '', /its guest is disk-error/);
  assert.equal(decided({ has: false, forMs: SETTLE_MS - 1 })?.kind, 'wait');
  const given = decided({ has: false, forMs: SETTLE_MS });
  assert(given?.kind === 'commit');
  assert.equal(given.event.kind, 'member-not-healthy');
  assert.match(given.event.message, /lost its key on data. The cluster no longer waits for it/);
});

test('GC12 a key on a disk that the member has no more is not awaited, and a new wish is not held up', () => {
  assert.equal(decided({ has: false }, { spec: SPEC })?.kind, 'commit');
  assert.equal(decided({ has: false }, { migrationRequest: { to: null, taskId: task(1), askedAt: NOW } }), null);
  const { settling: _, ...quiet } = memberRecord(1, { kind: 'running', incarnation: AT });
  assert.equal(decideSettling(situation(quiet), AT, 'running'), null);
});

const CHECK = { command: 'pg_isready', withinMs: 60_000 };

function checked(readiness: Readiness, forMs = 1_000): Decision | null {
  return decided({ has: true, forMs, readiness, check: CHECK });
}

test('GC14 a member with a ready-check is waited for until that succeeds, for no longer than was declared', () => {
  const ready = checked({ kind: 'ready' });
  assert(ready?.kind === 'commit');
  assert.deepEqual([ready.event.kind, ready.vm.seenHealthy], ['member-healthy', 'by-check']);
  assert.match(ready.event.message, /its ready-check succeeded/);
  const failing = { kind: 'not-ready', why: 'exited with 2: no response' } as const;
  for (const [readiness, why] of [
    [failing, /not been seen healthy yet: its ready-check exited with 2: no response/],
    [{ kind: 'unasked' }, /was not run yet/],
    [{ kind: 'silent', forMs: NO_AGENT_MS - 1 }, /does not answer yet/],
  ] as const) {
    const waits = checked(readiness, 59_999);
    assert.match(waits?.kind === 'wait' ? waits.why : '', why);
  }
  const given = checked(failing, 60_000);
  assert(given?.kind === 'commit');
  assert.deepEqual(
    [given.event.kind, given.vm.seenHealthy, given.vm.settling],
    ['member-not-healthy', 'no', undefined],
  );
  assert.match(given.event.message, /within 60 s of its move: its ready-check exited with 2/);
});

test('GC14 where no agent answers in the guest, its keys are enough; a check that succeeds is not, without them', () => {
  const silent = checked({ kind: 'silent', forMs: NO_AGENT_MS });
  assert(silent?.kind === 'commit');
  assert.equal(silent.vm.seenHealthy, 'by-keys');
  assert.match(silent.event.message, /no agent answers in its guest/);
  const fenced = decided({ has: false, readiness: { kind: 'ready' }, check: CHECK });
  assert.match(fenced?.kind === 'wait' ? fenced.why : '', /has lost its key/);
  const halted = decided({ has: true, verdict: 'paused', readiness: { kind: 'ready' }, check: CHECK });
  assert.match(halted?.kind === 'wait' ? halted.why : '', /its guest is paused/);
});
