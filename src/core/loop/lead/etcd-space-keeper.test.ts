import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../../../base/errors.ts';
import type { AnsweringMember } from '../../plan/lead/etcd-space.ts';
import { ManualClock } from '../../ports/testing/manual-clock.ts';
import { EtcdSpaceKeeper } from './etcd-space-keeper.ts';

const QUOTA = 100;
const FULL = { sizeBytes: QUOTA, inUseBytes: QUOTA, isFull: true } as const;

/** One member, and a keeper on a node that leads, does not lead, or (null) knows of no leader. */
function keeping(leads: boolean | null, of: Partial<AnsweringMember> = {}) {
  const clock = new ManualClock();
  const member = {
    ...{ endpoint: 'c1', isLeader: true, sizeBytes: 10, inUseBytes: 10, isFull: false, isCorrupt: false },
    ...{ version: '3.5', revision: 500, ...of },
  };
  const steps: string[] = [];
  const around = { isReachable: true };
  const keeper = new EtcdSpaceKeeper({
    clock,
    quotaBytes: QUOTA,
    leads: () => leads,
    log: { info: () => undefined, warn: () => undefined },
    room: {
      members: async () => (around.isReachable ? [{ ...member }] : [{ endpoint: 'c1', unreachable: 'silence' }]),
      compact: async (revision) => {
        if (!around.isReachable) throw new CodedError('unavailable', 'silence');
        steps.push(`compact ${revision}`);
        member.inUseBytes = 5;
      },
      defragment: async (endpoint) => {
        steps.push(`defragment ${endpoint}`);
        member.sizeBytes = member.inUseBytes;
      },
      disarm: async () => {
        steps.push('disarm');
        member.isFull = false;
      },
    },
  });
  return { clock, keeper, steps, around };
}

const ALL = ['compact 500', 'defragment c1', 'disarm'];

test('a full etcd is given room, a step at a time, by its leader or, where nobody can lead, by every node', async () => {
  for (const leads of [true, null]) {
    const { clock, keeper, steps } = keeping(leads, FULL);
    keeper.start();
    await clock.advance(0);
    assert.deepEqual(steps, ALL.slice(0, 1));
    assert.throws(() => keeper.demandRoom(), { code: 'no-capacity', message: /100 % full/ });
    await clock.advance(10_000);
    assert.deepEqual(steps, ALL);
    keeper.demandRoom();
  }
});

test('who does not lead looks and does nothing; so does everybody while nobody leads and there is room', async () => {
  for (const [leads, of] of [
    [false, FULL],
    [null, { sizeBytes: 70, inUseBytes: 70 }],
  ] as const) {
    const { clock, keeper, steps } = keeping(leads, of);
    keeper.start();
    await clock.advance(10_000);
    assert.deepEqual(steps, []);
    assert.equal(keeper.members.length, 1);
  }
});

test('a member that does not answer is looked at again, and nothing is done after the end', async () => {
  const { clock, keeper, steps, around } = keeping(true, FULL);
  around.isReachable = false;
  keeper.start();
  await clock.advance(10_000);
  assert.deepEqual([steps, keeper.members], [[], [{ endpoint: 'c1', unreachable: 'silence' }]]);
  around.isReachable = true;
  keeper.stop();
  await clock.advance(10_000);
  assert.deepEqual(steps, []);
});
