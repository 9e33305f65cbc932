import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseGeneration } from '../../base/ids.ts';
import type { QmpEvent } from '../../wire/qmp/codec.ts';
import { MigrationMemory } from './migration-memory.ts';

const TO = parseGeneration(2);
const HOST_MS = 1_700_000_000_000;

/** Sends, receives STOP and the end of the migration, and returns the reported pause. */
function pauseOf({ hostMs, ownMs }: { readonly hostMs: number; readonly ownMs: number }): number | null {
  let nowMs = 500;
  const memory = new MigrationMemory({ monotonicMs: () => nowMs });
  memory.orderedToSend(TO);
  assert.deepEqual(memory.hear({ kind: 'event', name: 'STOP', data: {}, timestampMs: HOST_MS }), { kind: 'ending' });
  nowMs += ownMs;
  const left = memory.hear({
    kind: 'event',
    name: 'MIGRATION',
    data: { status: 'completed' },
    timestampMs: HOST_MS + hostMs,
  });
  assert(left?.kind === 'left' && left.sentTo === TO);
  assert.equal(memory.completed?.downtimeMs, left.pausedMs);
  return left.pausedMs;
}

test('the pause of a migration is that between the two events, also where they arrive late or together', () => {
  assert.equal(pauseOf({ hostMs: 40, ownMs: 41 }), 40);
  assert.equal(pauseOf({ hostMs: 40, ownMs: 0 }), 40);
  assert.equal(pauseOf({ hostMs: 40, ownMs: 3_000 }), 40);
});

test('a host whose wall clock is set in between makes no pause that was not', () => {
  assert.equal(pauseOf({ hostMs: 3_600_040, ownMs: 41 }), 41);
  assert.equal(pauseOf({ hostMs: -3_600_000, ownMs: 41 }), 41);
});

test('a source whose stop was not heard tells no pause; a halt that was ordered is no end of a migration', () => {
  const memory = new MigrationMemory({ monotonicMs: () => 0 });
  memory.orderedToSend(TO);
  memory.orderedToHalt();
  assert.equal(memory.hear({ kind: 'event', name: 'STOP', data: {}, timestampMs: HOST_MS }), null);
  const left = memory.hear({
    kind: 'event',
    name: 'MIGRATION',
    data: { status: 'completed' },
    timestampMs: HOST_MS + 9,
  });
  assert.deepEqual(left, { kind: 'left', sentTo: TO, pausedMs: null });
});

test('what was ordered is forgotten when the guest goes on, and events of others tell nothing', () => {
  const memory = new MigrationMemory({ monotonicMs: () => 0 });
  const completed: QmpEvent = { kind: 'event', name: 'MIGRATION', data: { status: 'completed' }, timestampMs: HOST_MS };
  assert.equal(memory.hear(completed), null);
  memory.orderedToReceive();
  assert.deepEqual(memory.hear(completed), { kind: 'arrived' });
  memory.orderedToSend(TO);
  assert.equal(memory.hear({ kind: 'event', name: 'RESUME', data: {}, timestampMs: HOST_MS }), null);
  assert.equal(memory.hear(completed), null);
});
