import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { HostName, Term } from '../../base/ids.ts';
import type { HostRecord } from '../model/cluster.ts';
import type { RollHost, RollRecord } from '../model/roll.ts';
import { hostRecord } from '../plan/testing/sample-records.ts';
import type { Change } from '../ports/store.ts';
import {
  fewHostsAreAway,
  hostsAreDoneWhenTheyAre,
  nothingBeginsOutsideWindows,
  nothingBeginsWhileAHostIsLost,
  oneRollHasAHost,
  rollsGoForward,
  wavesFollowEachOther,
} from './roll-checkers.ts';
import { hostOf, putRoll as put, rollOf, SATURDAY } from './testing/roll-traces.ts';
import type { Checker } from './trace.ts';

const HOUR_MS = 3_600_000;

/** The verdicts of a checker on commits, one after the other, a minute apart. */
function said(checker: Checker, ...commits: (readonly Change[])[]): readonly (string | null)[] {
  return commits.map((changes, n) => checker({ at: n * 60_000, kind: 'commit', by: 1 as Term, changes }));
}

const last = (checker: Checker, ...commits: (readonly Change[])[]): string => said(checker, ...commits).at(-1) ?? '';

describe('MR10: a host goes its way once', () => {
  const step = (from: RollHost['state'], to: RollHost['state']): string =>
    last(
      rollsGoForward(),
      [put(rollOf([hostOf('h1', { state: from })]))],
      [put(rollOf([hostOf('h1', { state: to })]))],
    );

  test('forward, past steps that have no command, and again where it has failed', () => {
    for (const [from, to] of [
      ['waiting', 'draining'],
      ['draining', 'back'],
      ['verify', 'done'],
      ['run', 'failed'],
      ['failed', 'run'],
      ['failed', 'waiting'],
      ['draining', 'skipped'],
    ] as const)
      assert.equal(step(from, to), '', `${from} ${to}`);
  });

  test('what is done, skipped or further is not begun again', () => {
    for (const [from, to] of [
      ['done', 'waiting'],
      ['done', 'draining'],
      ['skipped', 'pre'],
      ['run', 'draining'],
      ['back', 'run'],
    ] as const)
      assert.match(step(from, to), new RegExp(`h1 was ${from}, and is ${to}`));
  });

  test('a later wave begins only after the one before', () => {
    const before = [hostOf('h1', { state: 'verify' }), hostOf('h2', { wave: 1 })] as const;
    const begins = (first: RollHost): string =>
      last(
        wavesFollowEachOther(),
        [put(rollOf(before))],
        [put(rollOf([first, hostOf('h2', { wave: 1, state: 'draining' })]))],
      );
    assert.match(begins(before[0]), /h2 of wave 2 begins, and h1 is verify/);
    assert.equal(begins(hostOf('h1', { state: 'failed' })), '');
  });
});

test('MR1: of two rolls over a host one begins', () => {
  const other = rollOf([hostOf('h1')], { id: 'roll-000000000002' as never });
  const commits = (first: RollHost): string =>
    last(
      oneRollHasAHost(),
      [put(rollOf([first])), put(other)],
      [put({ ...other, hosts: [hostOf('h1', { state: 'pre' })] })],
    );
  assert.match(commits(hostOf('h1', { state: 'run' })), /h1 begins, which roll-000000000001 has/);
  assert.equal(commits(hostOf('h1')), '');
});

describe('MR2: nothing begins outside the windows', () => {
  const begins = (hours: number, more: Partial<RollRecord>): string => {
    const since = SATURDAY + hours * HOUR_MS;
    const begun = rollOf([hostOf('h1', { state: 'pre', since })], more);
    return last(nothingBeginsOutsideWindows(), [put(rollOf([hostOf('h1')], more))], [put(begun)]);
  };

  test('a host, by the clocks of the window\u2019s zone, over midnight', () => {
    const windows = ['Sat 22:00-04:00 Europe/Berlin'];
    assert.match(begins(20.9, { windows }), /h1 began at 2026-11-28T20:54:00.000Z, outside of Sat 22:00-04:00/);
    assert.equal(begins(21, { windows }), '');
    assert.equal(begins(26.9, { windows }), '');
    assert.match(begins(27, { windows }), /outside/);
    assert.match(begins(2, { windows }), /outside/);
    assert.equal(begins(2, { windows: ['Fri-Mon 02:00-24:00 UTC'] }), '');
  });

  test('not in a freeze either, whatever the leader believes of the windows by then', () => {
    const freezes = [{ from: SATURDAY, until: SATURDAY + HOUR_MS, reason: 'year end' }];
    assert.match(begins(0.5, { freezes }), /in the freeze "year end"/);
    assert.equal(begins(1, { freezes }), '');
    const forgotten = rollOf([hostOf('h1', { state: 'pre', since: SATURDAY })]);
    const first = rollOf([hostOf('h1')], { freezes });
    assert.match(last(nothingBeginsOutsideWindows(), [put(first)], [put(forgotten)]), /year end/);
  });

  test('work that begins, and moves of its drains; what goes on is no beginning', () => {
    const freezes = [{ from: SATURDAY, until: SATURDAY + HOUR_MS, reason: 'year end' }];
    const work = (startedAt: number, until: number): RollRecord => {
      const doing = { step: 'run', by: 'gp', startedAt, until } as const;
      return rollOf([hostOf('h1', { state: 'run', work: doing })], { freezes });
    };
    const idle = rollOf([hostOf('h1', { state: 'run' })], { freezes });
    assert.match(last(nothingBeginsOutsideWindows(), [put(idle)], [put(work(SATURDAY, 1))]), /"run" on h1 began/);
    const renewed = [[put(idle)], [put(work(SATURDAY - 1, 1))], [put(work(SATURDAY - 1, 2))]] as const;
    assert.deepEqual(said(nothingBeginsOutsideWindows(), ...renewed), [null, null, null]);
    const drain = (state: 'waiting' | 'moving'): Change => {
      const move = { id: 1, name: 'web', state, startedAt: state === 'moving' ? SATURDAY : null };
      return {
        ...{ kind: 'drain', id: 'drain-000000000001' },
        value: { id: 'drain-000000000001', roll: idle.id, moves: [move], endedAt: null },
      } as unknown as Change;
    };
    const moves = last(nothingBeginsOutsideWindows(), [put(idle), drain('waiting')], [drain('moving')]);
    assert.match(moves, /the move of web began/);
  });
});

test('MR4: few hosts are away, of a rack too; those that somebody has just taken away were not known', () => {
  const host = (name: string, drain: string | null, rack = 'r1'): Change => {
    const maintenance = drain === null ? null : { drain: drain as never, since: 0, reason: null };
    return { kind: 'host', id: name as HostName, value: { ...hostRecord(1), name, rack, maintenance } as HostRecord };
  };
  const before = rollOf([hostOf('h1'), hostOf('h2')]);
  const begun = put(rollOf([hostOf('h1'), hostOf('h2', { state: 'draining', drain: 'd2' as never })]));
  const others = [put(before), host('h1', 'somebody'), host('h2', null)];
  assert.match(last(fewHostsAreAway(), others, [begun, host('h2', 'd2')]), /2 of its hosts are away, and 1 may be/);
  const justNow = [host('h1', 'somebody'), begun, host('h2', 'd2')];
  assert.equal(last(fewHostsAreAway(), [put(before), host('h2', null)], justNow), '');
  const wide = { maxUnavailable: 9, perRack: 1 };
  const inRack = [put(rollOf([hostOf('h1'), hostOf('h2')], wide)), host('h1', 'somebody'), host('h2', null)];
  assert.match(last(fewHostsAreAway(), inRack, [begun, host('h2', 'd2')]), /2 hosts of rack r1 are away, and 1 may be/);
  assert.equal(last(fewHostsAreAway(), inRack, [begun, host('h2', 'd2', 'r2')]), '');
});

test('MR5: nothing begins while a host is lost that nobody took down', () => {
  const lost = (maintenance: HostRecord['maintenance']): Change => ({
    kind: 'host',
    id: 'h9' as HostName,
    value: { ...hostRecord(9), quarantine: { since: 0, reason: '' }, maintenance: maintenance ?? null },
  });
  const begun = [put(rollOf([hostOf('h1', { state: 'pre' })]))];
  const before = put(rollOf([hostOf('h1')]));
  assert.match(last(nothingBeginsWhileAHostIsLost(), [before, lost(null)], begun), /h1 begins while h9 is lost/);
  const taken = { drain: 'd' as never, since: 0, reason: null };
  assert.equal(last(nothingBeginsWhileAHostIsLost(), [before, lost(taken)], begun), '');
});

test('MR6: a host is done after its work and then its check have succeeded', () => {
  const done = (...steps: (readonly ['run' | 'verify', boolean])[]): string => {
    const works = steps.map(([step, succeeded]) => ({
      ...{ step, succeeded, by: 'gp', startedAt: 0, endedAt: 0, message: '' },
    }));
    const before = rollOf([hostOf('h1', { state: 'verify', done: works })]);
    return last(
      hostsAreDoneWhenTheyAre(),
      [put(before)],
      [put(rollOf([hostOf('h1', { state: 'done', done: works })]))],
    );
  };
  assert.equal(done(['run', true], ['verify', false], ['verify', true]), '');
  assert.match(done(['run', false], ['verify', true]), /done without its "run"/);
  assert.match(done(['run', true], ['verify', false]), /done without its "verify"/);
  assert.match(done(['verify', true], ['run', true]), /verified before its "run"/);
});
