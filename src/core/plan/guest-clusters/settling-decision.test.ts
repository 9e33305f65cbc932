import assert from 'node:assert/strict';
import { test } from 'node:test';
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
import type { Decision } from '../vm/decision.ts';
import type { Verdict } from '../vm/verdict.ts';
import { decideSettling, SETTLE_MS } from './settling-decision.ts';

const DISK = sharedDiskRecord().id;
const AT = incarnation(1, 1);
const SPEC = memberRecord(1, { kind: 'running', incarnation: AT }).spec;

function decided(
  {
    has,
    verdict = 'running',
    forMs = 1_000,
  }: { readonly has: boolean; readonly verdict?: Verdict; readonly forMs?: number },
  more: Partial<VmRecord> = {},
): Decision | null {
  const spec = { ...SPEC, sharedDisks: [{ disk: DISK, lun: 0 }] };
  const vm = memberRecord(1, { kind: 'running', incarnation: AT }, { settling: { registered: [DISK] }, spec, ...more });
  const hosts = [{ record: hostRecord(1), seen: seenHost(1) }];
  const cluster = clusterOf({
    vms: [vm],
    hosts,
    guestClusters: [guestClusterRecord([vm])],
    sharedDisks: [sharedDiskRecord()],
  });
  const seen = { ...cluster, registeredOn: () => (has ? [DISK] : []) };
  return decideSettling(situation(vm, {}, { cluster: seen, phaseForMs: forMs }), AT, verdict);
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
  assert.match(given.event.message, /lost its key on data. It is not waited for any longer/);
});

test('GC12 a key on a disk that the member has no more is not awaited, and a new wish is not held up', () => {
  assert.equal(decided({ has: false }, { spec: SPEC })?.kind, 'commit');
  assert.equal(decided({ has: false }, { migrationRequest: { to: null, taskId: task(1), askedAt: NOW } }), null);
  const { settling: _, ...quiet } = memberRecord(1, { kind: 'running', incarnation: AT });
  assert.equal(decideSettling(situation(quiet), AT, 'running'), null);
});
