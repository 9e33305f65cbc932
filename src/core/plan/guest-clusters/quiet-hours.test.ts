import assert from 'node:assert/strict';
import { test } from 'node:test';
import { indexOf } from '../../model/cluster-index.ts';
import { guestClusterRecord, incarnation, memberRecord, vmRecord } from '../testing/sample-records.ts';
import { drainObstacle, quietObstacles } from './quiet-hours.ts';

const MONDAY_NOON = Date.parse('2026-11-30T12:00:00Z');
const HOUR_MS = 3_600_000;
const member = memberRecord(1, { kind: 'running', incarnation: incarnation(1, 1) });
const alone = vmRecord({ kind: 'running', incarnation: incarnation(1, 1) });

function world(quiet: readonly string[]) {
  const index = indexOf({ vms: [member, alone], hosts: [] });
  const cluster = guestClusterRecord([member], { quiet });
  index.setGuestCluster(cluster.name, cluster);
  const at = (now: number, drain = {}): string | null => drainObstacle(member, { drain, index, now });
  return { index, at };
}

test('GC13 in quiet hours no drain moves a member; before and after it does', () => {
  const { at, index } = world(['Mon-Fri 08:00-18:00 Europe/London']);
  assert.equal(at(MONDAY_NOON), 'Guest cluster sql has quiet hours until 2026-11-30T18:00:00.000Z.');
  assert.equal(at(MONDAY_NOON + 6 * HOUR_MS), null);
  assert.equal(at(MONDAY_NOON - 4 * HOUR_MS - 1), null);
  // The answer that is kept until the next change does not apply to a clock that goes back, nor beyond the change.
  assert.notEqual(at(MONDAY_NOON), null);
  assert.notEqual(at(MONDAY_NOON + 24 * HOUR_MS), null);
  assert.equal(drainObstacle(alone, { drain: {}, index, now: MONDAY_NOON }), null);
  assert.deepEqual(quietObstacles([alone.id, member.id], index, MONDAY_NOON), [
    'Guest cluster sql has quiet hours until 2026-11-30T18:00:00.000Z.',
  ]);
});

test('GC13 a drain for which somebody signed does not wait', () => {
  const { at } = world(['Mon-Sun 00:00-24:00 UTC']);
  assert.equal(at(MONDAY_NOON), 'Guest cluster sql has quiet hours.');
  assert.equal(at(MONDAY_NOON, { quietOverride: { owner: 'ops', reason: 'the disk fails' } }), null);
});

test('GC13 a window that this version cannot read holds nothing back', () => {
  assert.equal(world(['Mon-Sun 00:00-24:00 Mars/Olympus']).at(MONDAY_NOON), null);
});
