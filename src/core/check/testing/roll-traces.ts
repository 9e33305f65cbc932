/** Records of rolls for checkers, and for each rule of rolls a trace that breaks it and one that keeps it. */
import type { HostName, Term } from '../../../base/ids.ts';
import type { HostRecord } from '../../model/cluster.ts';
import type { RollHost, RollRecord } from '../../model/roll.ts';
import { hostRecord } from '../../plan/testing/sample-records.ts';
import type { Change } from '../../ports/store.ts';
import type { TraceEntry } from '../trace.ts';

/** 2026-11-28 is a Saturday. */
export const SATURDAY = Date.parse('2026-11-28T00:00:00Z');

/** A host of a roll, from its first wave. */
export const hostOf = (name: string, more: Partial<RollHost> = {}): RollHost => ({
  ...{ host: name as HostName, wave: 0, state: 'waiting', since: SATURDAY, drain: null, work: null, done: [] },
  ...{ failedAt: null, note: null },
  ...more,
});

/** A roll over hosts, one away at once, whose work is checked. */
export const rollOf = (hosts: readonly RollHost[], more: Partial<RollRecord> = {}): RollRecord => ({
  ...{ id: 'roll-000000000001' as never, hash: '', state: 'running', held: null, who: 'ann', reason: null },
  ...{ change: null, windows: [], freezes: [], onFailure: 'stop', workMs: 0, backMs: 0, taskId: '' as never },
  commands: { pre: null, run: 'run', verify: 'verify', preMs: 1, runMs: 1, verifyMs: 1 },
  ...{ maxUnavailable: 1, perRack: null, parallel: 2, deviations: [], createdAt: SATURDAY, endedAt: null },
  ...more,
  hosts,
});

/** The change that writes a roll. */
export const putRoll = (value: RollRecord): Change => ({ kind: 'roll', id: value.id, value });

let at = 0;
/** A commit of a leader, a minute after the last one. */
function commit(...changes: Change[]): TraceEntry {
  at += 60_000;
  return { at, kind: 'commit', by: 1 as Term, changes };
}

const one = (more: Partial<RollHost>, roll: Partial<RollRecord> = {}): Change =>
  putRoll(rollOf([hostOf('h1', more)], roll));
const host = (name: string, more: Partial<HostRecord>): Change => ({
  kind: 'host',
  id: name as HostName,
  value: { ...hostRecord(1), name: name as HostName, ...more },
});
const maintenance = (drain: string): NonNullable<HostRecord['maintenance']> => ({
  drain: drain as never,
  since: 0,
  reason: null,
});
const OTHER = { id: 'roll-000000000002' as never };
const freezes = [{ from: SATURDAY, until: SATURDAY + 1, reason: 'year end' }];
const lost = host('h9', { quarantine: { since: 0, reason: '' } });
const two = (wave: number, state: RollHost['state']): Change =>
  putRoll(rollOf([hostOf('h1'), hostOf('h2', { wave, state, drain: 'd2' as never })]));

/** Traces by rule, for check-trace.test.ts. */
export const ROLL_TRACES = {
  'MR1-one-roll-has-a-host': {
    broken: [commit(one({ state: 'run' }), one({}, OTHER)), commit(one({ state: 'pre' }, OTHER))],
    kept: [commit(one({ state: 'done' }), one({}, OTHER)), commit(one({ state: 'pre' }, OTHER))],
  },
  'MR2-inside-windows': {
    broken: [commit(one({}, { freezes })), commit(one({ state: 'pre' }, { freezes }))],
    kept: [commit(one({}, { freezes })), commit(one({ state: 'pre', since: SATURDAY + 1 }, { freezes }))],
  },
  'MR4-few-hosts-away': {
    broken: [
      commit(two(0, 'waiting'), host('h1', { maintenance: maintenance('d1') }), host('h2', {})),
      commit(two(0, 'draining'), host('h2', { maintenance: maintenance('d2') })),
    ],
    kept: [
      commit(two(0, 'waiting'), host('h1', {}), host('h2', {})),
      commit(two(0, 'draining'), host('h2', { maintenance: maintenance('d2') })),
    ],
  },
  'MR5-no-other-host-lost': {
    broken: [commit(one({}), lost), commit(one({ state: 'pre' }))],
    kept: [commit(one({}), lost), commit(one({ state: 'failed' }))],
  },
  'MR6-done-when-done': {
    broken: [commit(one({ state: 'back' })), commit(one({ state: 'done' }))],
    kept: [commit(one({ state: 'back' })), commit(one({ state: 'verify' }))],
  },
  'MR10-each-host-once': {
    broken: [commit(one({ state: 'done' })), commit(one({ state: 'waiting' }))],
    kept: [commit(one({ state: 'failed' })), commit(one({ state: 'waiting' }))],
  },
  'MR10-waves-in-order': {
    broken: [commit(two(1, 'waiting')), commit(two(1, 'draining'))],
    kept: [commit(two(0, 'waiting')), commit(two(0, 'draining'))],
  },
} as const;
